package config

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// A token is NAME.SECRET, and its hash is SCHEME:ITERATIONS:SALT:KEY, salt and key in base64 without padding. The name
// says which hash to compare with, so that a wrong token costs one derivation and not one for each that there is.
//
// A secret of 256 random bits needs no slow hash. The iterations are for those who choose one themselves.
const (
	hashScheme = "pbkdf2-sha256" // RFC 8018
	iterations = 100_000         // some 20 ms

	minIterations, maxIterations = 10_000, 1_000_000
	minSalt, maxSalt             = 16, 64 // bytes
	secretBytes                  = 32
)

type tokenHash struct {
	iterations int
	salt, key  []byte
}

// NewToken makes a token of that name and its hash. The token is shown to whom it is for, and kept nowhere.
func NewToken(name string) (token, hash string, err error) {
	if !brokerName.MatchString(name) {
		return "", "", fmt.Errorf("name a token %s: want %s", quote(name), wantBroker)
	}
	secret, salt := make([]byte, secretBytes), make([]byte, minSalt)
	_, _ = rand.Read(secret) // it never fails
	_, _ = rand.Read(salt)
	token = name + "." + base64.RawURLEncoding.EncodeToString(secret)
	h := tokenHash{iterations: iterations, salt: salt}
	if h.key, err = h.derive(token); err != nil {
		return "", "", err
	}
	return token, h.String(), nil
}

// String gives the hash as it stands in the file.
func (h tokenHash) String() string {
	encode := base64.RawStdEncoding.EncodeToString
	return strings.Join([]string{hashScheme, strconv.Itoa(h.iterations), encode(h.salt), encode(h.key)}, ":")
}

// parseHash reads what String gives; false: it is something else, or a hash that is too weak, or too much work.
func parseHash(text string) (tokenHash, bool) {
	parts := strings.Split(text, ":")
	if len(parts) != 4 || parts[0] != hashScheme {
		return tokenHash{}, false
	}
	n, errN := strconv.Atoi(parts[1])
	salt, errSalt := base64.RawStdEncoding.DecodeString(parts[2])
	key, errKey := base64.RawStdEncoding.DecodeString(parts[3])
	good := errN == nil && errSalt == nil && errKey == nil && n >= minIterations && n <= maxIterations &&
		len(salt) >= minSalt && len(salt) <= maxSalt && len(key) == sha256.Size
	return tokenHash{n, salt, key}, good
}

func (h tokenHash) derive(token string) ([]byte, error) {
	key, err := pbkdf2.Key(sha256.New, token, h.salt, h.iterations, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("hash a token: %w", err)
	}
	return key, nil
}

// matches says whether the hash is that of the token.
func (h tokenHash) matches(token string) (bool, error) {
	key, err := h.derive(token)
	return err == nil && subtle.ConstantTimeCompare(key, h.key) == 1, err
}
