package httpapi

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestKnownTokensAreFewAndForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKnownTokens()
		one := func(i int) digest { return sha256.Sum256(fmt.Append(nil, i)) }
		for i := range maxKnownTokens + 10 {
			k.remember(one(i))
			if len(k.until) > maxKnownTokens || !k.has(one(i)) {
				t.Fatalf("%d tokens, the last one: %t", len(k.until), k.has(one(i)))
			}
		}
		k.remember(one(1))
		k.forget(one(1))
		time.Sleep(knownFor)
		if k.has(one(1)) || k.has(one(maxKnownTokens)) {
			t.Error("a token is remembered for too long")
		}
	})
}
