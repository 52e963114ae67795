package deploy

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ourManager is how the API server names what we change: by what our user agent begins with.
const ourManager = "unstuck"

// changedBy says which program last changed an object, but for its status, and when; nothing if that is not known, or
// it was us.
func changedBy(o metav1.Object) string {
	var last metav1.ManagedFieldsEntry
	for _, m := range o.GetManagedFields() {
		if m.Subresource != "status" && m.Time != nil && (last.Time == nil || last.Time.Before(m.Time)) {
			last = m
		}
	}
	if last.Time == nil || strings.HasPrefix(last.Manager, ourManager) {
		return ""
	}
	return fmt.Sprintf("%s at %s", last.Manager, last.Time.UTC().Format(time.RFC3339))
}
