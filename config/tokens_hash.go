package config

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
)

// A token is NAME.SECRET and a checksum right behind it: a secret of 256 random bits, and the CRC-32 (IEEE) of all that
// stands before the checksum, both as numbers in base62 with leading zeros. So what was guessed, cut off or mistyped is
// refused before anything is looked up.
//
// Nobody chooses a secret themselves, and 256 random bits need no slow hash: one SHA-256 is what a wrong token costs,
// and strangers can keep nobody waiting with that.
const (
	base62       = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" // in the order of big.Int.Text
	secretBytes  = 32
	secretDigits = 43 // 62^43 > 2^256
	checkDigits  = 6  // 62^6 > 2^32
	hashScheme   = "sha256"
	wantHash     = "a hash as unstuck token makes it: " + hashScheme + ": and 64 hexadecimal digits"
)

type tokenHash [sha256.Size]byte

// NewToken makes a token of that name and its hash. The token is shown to whom it is for, and kept nowhere.
func NewToken(name string) (token, hash string, err error) {
	if !brokerName.MatchString(name) {
		return "", "", fmt.Errorf("name a token %s: want %s", quote(name), wantBroker)
	}
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // it never fails
	text := name + "." + inBase62(new(big.Int).SetBytes(secret), secretDigits)
	token = text + checksumOf(text)
	return token, hashOf(token).String(), nil
}

// inBase62 writes a number with so many digits.
func inBase62(n *big.Int, digits int) string {
	text := n.Text(len(base62))
	return strings.Repeat("0", digits-len(text)) + text
}

// checksumOf gives the checksum that stands behind text.
func checksumOf(text string) string {
	return inBase62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(text)))), checkDigits)
}

// isToken says whether text can be a token at all. It goes by nothing that is secret.
func isToken(text string) bool {
	name, secret, _ := strings.Cut(text, ".")
	if len(secret) != secretDigits+checkDigits || strings.Trim(secret, base62) != "" || !brokerName.MatchString(name) {
		return false
	}
	end := len(text) - checkDigits
	return text[end:] == checksumOf(text[:end])
}

// hashOf gives the hash of a token: what `printf %s TOKEN | sha256sum` prints.
func hashOf(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// String gives the hash as it stands in the file.
func (h tokenHash) String() string { return hashScheme + ":" + hex.EncodeToString(h[:]) }

// parseHash reads what String gives; false: it is something else.
func parseHash(text string) (h tokenHash, ok bool) {
	scheme, digits, _ := strings.Cut(text, ":")
	if key, err := hex.DecodeString(digits); err == nil && len(key) == len(h) {
		h = tokenHash(key)
	}
	return h, scheme == hashScheme && h.String() == text
}
