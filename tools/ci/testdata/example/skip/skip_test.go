// Package skip has a test that is skipped, and one of which a part is.
package skip

import "testing"

func TestSkipped(t *testing.T) { t.Skip("no broker") }

func TestPartly(t *testing.T) {
	t.Run("a part", func(t *testing.T) { t.Skip("no browser") })
}
