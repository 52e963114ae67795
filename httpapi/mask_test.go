package httpapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

func TestMaskedTakesOutTokensAndLeavesTheRest(t *testing.T) {
	for name, token := range apitest.Pasted {
		for _, text := range []string{"%s", "I used %s, sorry", "token=%s", "(%s)", "Bearer:%s.", "a\n%s\nb"} {
			if got := Masked(fmt.Sprintf(text, token)); strings.Contains(got, apitest.SecretOf(token)) || !strings.Contains(got, "[masked]") {
				t.Errorf("%s: %q became %q", name, fmt.Sprintf(text, token), got)
			}
		}
		if got := Masked("https://unstuck.example/?token=" + token); strings.Contains(got, apitest.SecretOf(token)) && hasToken(token) {
			t.Errorf("%s in an address: %q", name, got)
		}
	}
	for _, text := range []string{
		apitest.NewCommit, "deploy " + apitest.NewCommit + " again", "uid 0f2c9f53-6b1f-4c55-9d8e-0a1b2c3d4e5f",
		"deploy-20261123t120000-a7k2m9xq", strings.Repeat("frontend-", 9), "a Sentence of Many Words, none of which is long",
		"gcr.io/acme/frontend@sha256:" + strings.Repeat("0a1b2c3d", 8), "4bf92f3577b34da6a3ce929d0e0e4736",
		"https://bugs.example.com/browse/OPS-1234?focusedCommentId=Some-Long-Comment-Title-1",
		"https://docs.google.com/document/d/1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgVE2upms/edit",
		"rabbitmq-0.rabbitmq-nodes-of-the-production.production.svc.cluster.local:5672",
		"frontend-deployment-6d5f9c7b9d-abcde.production", "2026-11-23T18:00:00.123456789Z", "",
	} {
		if got := Masked(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestKeyOfATokenIsTheSameKeyAgainAndNotTheToken(t *testing.T) {
	one, other := apitest.Pasted["of ours"], apitest.Pasted["of Kubernetes"]
	if again := KeyOf(one); KeyOf("build-1234") != "build-1234" || KeyOf(one) != again || KeyOf(one) == KeyOf(other) || strings.Contains(KeyOf(one), one[7:]) {
		t.Errorf("%q %q %q", KeyOf("build-1234"), KeyOf(one), KeyOf(other))
	}
}
