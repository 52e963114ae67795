package apiserver

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"

	corev1 "k8s.io/api/core/v1"
)

// How a document is kept in a ConfigMap.
const (
	ManagedBy    = "app.kubernetes.io/managed-by"
	KindLabel    = "unstuck.cjworkbench.org/kind"
	NameNote     = "unstuck.cjworkbench.org/name" // an annotation: the document's name may not do for a ConfigMap's
	DocumentKey  = "document"
	DocumentPage = 20 // how many are read at once; each may have close to a MiB
)

// Content gives the name of the document that is kept in a ConfigMap, and what it says; not ok: there is none.
func Content(m corev1.ConfigMap) (name string, data []byte, ok bool) {
	name, ok = m.Annotations[NameNote]
	if text, there := m.Data[DocumentKey]; there {
		return name, []byte(text), ok
	}
	data, there := m.BinaryData[DocumentKey]
	return name, data, ok && there
}

// plain is what an object's name may look like (RFC 1123), with room for the prefix and the hash.
var plain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,180}[a-z0-9])?$`)

// ObjectName gives the name of a document's ConfigMap. Names that will not do are replaced by a hash, never by
// something that another could have too.
func ObjectName(kind, name string) string {
	if plain.MatchString(name) {
		return ObjectPrefix(kind) + name
	}
	sum := sha256.Sum256([]byte(name))
	return ObjectPrefix(kind) + "x." + hex.EncodeToString(sum[:16])
}

// ObjectPrefix is what the names of the ConfigMaps of that kind begin with.
func ObjectPrefix(kind string) string { return "unstuck-" + kind + "-" }
