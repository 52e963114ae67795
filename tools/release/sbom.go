package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"runtime/debug"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// sbom writes what a program is made of, as CycloneDX. It reads that from the program itself, in which the linker left
// every module with its version and checksum, so that nothing is listed that is not in it.
func (r *release) sbom(program, path string, of archive) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	digest, err := sum(program)
	if err != nil {
		return err
	}
	main := cdx.Component{
		BOMRef: "pkg:golang/" + modulePath + "@" + r.version, Type: cdx.ComponentTypeApplication, Name: modulePath,
		Version: r.version, PackageURL: fmt.Sprintf("pkg:golang/%s@%s?goos=%s&goarch=%s", modulePath, r.version, of.os, of.arch),
		Hashes:   &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: digest}},
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: r.at.Format("2006-01-02T15:04:05Z"), Component: &main,
		Properties: &[]cdx.Property{{Name: "commit", Value: r.commit}},
	}
	// Go's own library is in it like a module.
	parts := []cdx.Component{part("stdlib", info.GoVersion, "")}
	for _, m := range info.Deps {
		parts = append(parts, partOf(m))
	}
	bom.Components = &parts
	refs := make([]string, 0, len(parts))
	for _, p := range parts {
		refs = append(refs, p.BOMRef)
	}
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	return created(path, func(out io.Writer) error {
		encoder := cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON)
		encoder.SetPretty(true)
		return encoder.Encode(bom)
	})
}

// partOf is a module in it; if it was replaced, what stands in its place.
func partOf(m *debug.Module) cdx.Component {
	if m.Replace != nil {
		m = m.Replace
	}
	return part(m.Path, m.Version, m.Sum)
}

// part is a module. Its sum is that of go.sum, which is a hash of the hashes of its files, and so stands among the
// properties and not among the hashes.
func part(path, version, sum string) cdx.Component {
	url := fmt.Sprintf("pkg:golang/%s@%s", path, version)
	c := cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
	if sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go.sum", Value: sum}}
	}
	return c
}
