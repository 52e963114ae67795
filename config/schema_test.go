package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/notify"
)

const chartSchema = "../charts/unstuck/values.schema.json"

// TestSchemaOfTheChartIsWhatIsRead compares what the chart's schema says of config with what the daemon reads.
// With -update it writes that part of the schema.
//
//promise:45
func TestSchemaOfTheChartIsWhatIsRead(t *testing.T) {
	data, err := os.ReadFile(chartSchema)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	file["properties"].(map[string]any)["config"] = formOfFile()
	want, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(chartSchema, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(want, data) {
		t.Errorf("%s is not what is read: go test ./config -run Schema -update writes it", chartSchema)
	}
}

// formOfFile gives the form of a file as the chart takes it, below config.
func formOfFile() form {
	root := object()
	d := newDecoder()
	d.listen = func(key, byDefault string, f form) {
		switch key { // the chart says these itself
		case "listen.metrics", "listen.api", "data_dir",
			"kubernetes.kubeconfig", "kubernetes.context", "kubernetes.namespace":
			return
		}
		root.add(key, byDefault == required && key != "brokers", f) // without brokers, a template says what to do
	}
	d.parse(nil, defaults())

	broker := maps.Clone(root.at("brokers[]")["properties"].(form))
	for _, own := range []string{"name", "nodes", "pods"} {
		delete(broker, own)
	}
	root.at("defaults")["properties"] = broker
	found := maps.Clone(broker)
	delete(found, "mode") // it stands beside
	root.at("discovery.defaults")["properties"] = found

	// In the daemon, checks across keys refuse what is not so. Files must be among those that the chart mounts.
	root.at("apps[]").require("pods")
	root.at("environments[].jobs[]").require("from")
	root.at("environments[].tasks[]").requireOne("exec", "job")
	for _, template := range []string{"environments[].jobs[].from", "environments[].tasks[].job"} {
		root.at(template).requireOne("cronjob", "podtemplate")
	}
	root.at("environments[].images")["items"] = form{"type": "string", "pattern": imageForm.String(), "description": wantImage}
	file := form{"type": "string", "pattern": "^/.", "description": "Where one of mounts shows it."}
	root.add("api.tls.cert_file", true, file)
	root.add("api.tls.key_file", true, file)
	root.add("api.tokens_file", false, file)
	root.add("environments[].cluster.kubeconfig", true, file)
	for _, name := range []string{"url_file", "token_file", "headers_file", "signing_key_file", "ca_file"} {
		root.add("notify[]."+name, false, file)
	}
	root.at("notify[].events")["items"] = form{"enum": notify.Kinds()}
	root.at("notify[].targets")["items"] = form{"type": "string", "pattern": brokerName.String(), "description": wantBroker}
	return root
}

func object() form {
	return form{"type": "object", "additionalProperties": false, "properties": form{}}
}

// at gives the section of that path, or the section that each element of a list is. It makes what is missing.
func (f form) at(path string) form {
	for part := range strings.SplitSeq(path, ".") {
		name, isList := strings.CutSuffix(part, "[]")
		properties := f["properties"].(form)
		if properties[name] == nil {
			properties[name] = object()
		}
		f = properties[name].(form)
		if isList {
			if items := f["items"].(form); items["type"] != "object" {
				f["items"] = object()
			}
			f = f["items"].(form)
		}
	}
	return f
}

// add puts the form of a key into f. A list is one of texts until there are keys in its elements.
func (f form) add(key string, isRequired bool, of form) {
	section, name := f, key
	if i := strings.LastIndex(key, "."); i >= 0 {
		section, name = f.at(key[:i]), key[i+1:]
	}
	if of == nil {
		of = object()
	}
	of = maps.Clone(of)
	if of["type"] == "array" {
		of["items"] = plainText
		if isRequired {
			of["minItems"] = 1
		}
	}
	section["properties"].(form)[name] = of
	if isRequired {
		section.require(name)
	}
}

func (f form) require(name string) {
	names, _ := f["required"].([]string)
	f["required"] = append(slices.Clip(names), name)
}

func (f form) requireOne(names ...string) {
	var one []form
	for _, name := range names {
		one = append(one, form{"required": []string{name}})
	}
	f["oneOf"] = one
}
