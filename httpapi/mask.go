package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Somebody may paste a token into any field. What looks like one is taken out where it comes in, so that it is neither
// kept (in an operation, a pause, an incident, a lock, the audit) nor sent back. What can be of use and is hardly a
// token is left: a commit, the digest of an image, a UID, a trace, the address of a document.

const maskedText = "[masked]"

var (
	onePiece   = regexp.MustCompile(`(sha(256|512):)?[A-Za-z0-9_.~+=-]{20,}`)
	shaDigest  = regexp.MustCompile(`^sha(256|512):[0-9a-f]{64,128}$`)
	noSpaces   = regexp.MustCompile(`\S+`)
	runs       = regexp.MustCompile(`[A-Za-z0-9]+`)
	hexDigits  = regexp.MustCompile(`^[0-9a-fA-F]+$`)
	letters    = regexp.MustCompile(`[A-Za-z]`)
	digits     = regexp.MustCompile(`[0-9]`)
	partsOfOne = regexp.MustCompile(`[A-Za-z0-9_-]+`)
)

// Masked takes out of text what looks like a token. An address may have long random parts that are none.
func Masked(text string) string {
	if !hasLongPiece(text) { // most text has none, and lists ask about thousands of names
		return text
	}
	return noSpaces.ReplaceAllStringFunc(text, func(word string) string {
		inAddress := strings.Contains(word, "://")
		return onePiece.ReplaceAllStringFunc(word, func(piece string) string {
			if hasToken(piece) || (!inAddress && looksDrawn(piece)) {
				return maskedText
			}
			return piece
		})
	})
}

// hasLongPiece says whether onePiece may find anything.
func hasLongPiece(text string) bool {
	long := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("_.~+=-", c) >= 0:
			if long++; long == 20 {
				return true
			}
		default:
			long = 0
		}
	}
	return false
}

// hasToken says whether text has a token of ours, NAME.SECRET, of which the secret may have been made in any alphabet,
// or a JSON Web Token, as Kubernetes gives them.
func hasToken(text string) bool {
	parts := strings.Split(text, ".")
	for i, part := range parts {
		if i == 0 {
			continue
		}
		if strings.HasPrefix(parts[i-1], "eyJ") && len(part) > 1 {
			return true
		}
		before := partsOfOne.FindAllString(parts[i-1], -1)
		secret := partsOfOne.FindString(part)
		if len(before) > 0 && strings.HasPrefix(part, secret) && looksSecret(secret) {
			return true
		}
	}
	return false
}

// looksSecret says whether what follows on the name of a token may be its secret: long, and not words between dashes.
func looksSecret(part string) bool {
	mixed := isMixed(part)
	if len(part) < 32 {
		return len(part) >= 20 && mixed && digits.MatchString(part)
	}
	return mixed || slices.ContainsFunc(runs.FindAllString(part, -1), func(run string) bool {
		return len(run) >= 24 || (len(run) >= 16 && hasBoth(run))
	})
}

// looksDrawn says whether a piece of text without a name before it looks drawn at random: in capital and small letters,
// which names of Kubernetes and commits are not; or longer than these, of small or capital letters with digits.
func looksDrawn(piece string) bool {
	if len(piece) < 32 || shaDigest.MatchString(piece) {
		return false
	}
	if isMixed(piece) {
		return true
	}
	for _, run := range runs.FindAllString(piece, -1) {
		longest := 31
		if hexDigits.MatchString(run) {
			longest = 40 // a commit; a trace has 32
		}
		if len(run) > longest && hasBoth(run) {
			return true
		}
	}
	return false
}

func isMixed(text string) bool { return strings.ToLower(text) != text && strings.ToUpper(text) != text }

// hasBoth says whether text has letters and digits.
func hasBoth(text string) bool { return letters.MatchString(text) && digits.MatchString(text) }

// maskBody takes what looks like a token out of all text of a body, which is a pointer to a struct.
func maskBody(body any) {
	for _, f := range reflect.ValueOf(body).Elem().Fields() {
		switch f.Kind() {
		case reflect.String:
			f.SetString(Masked(f.String()))
		case reflect.Slice:
			for j := range f.Len() {
				if one := f.Index(j); one.Kind() == reflect.String {
					one.SetString(Masked(one.String()))
				}
			}
		}
	}
}

// KeyOf gives the key of idempotency that is kept. Of one that has a token its hash is as good: the same key has the
// same.
func KeyOf(sent string) string {
	if !hasToken(sent) {
		return sent
	}
	sum := sha256.Sum256([]byte(sent))
	return "masked-" + hex.EncodeToString(sum[:16])
}
