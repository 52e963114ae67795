// Command oldest reads a list of objects in JSON from standard input, and fails if the oldest Kubernetes that the chart
// supports does not know one of their kinds or fields. The types are those that this Kubernetes itself was built from,
// which is why the command is a module of its own.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	if err := check(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// check gives an error for each object that is not known as it is.
func check(in io.Reader) error {
	var objects []json.RawMessage
	if err := json.NewDecoder(in).Decode(&objects); err != nil {
		return fmt.Errorf("read the objects: %w", err)
	}
	if len(objects) == 0 {
		return errors.New("there are no objects")
	}
	strict := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		serializer.SerializerOptions{Strict: true})
	var all []error
	for _, o := range objects {
		if _, _, err := strict.Decode(o, nil, nil); err != nil {
			all = append(all, fmt.Errorf("%w in:\n%s", err, o))
		}
	}
	return errors.Join(all...)
}
