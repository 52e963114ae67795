package release

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// readDockerConfig reads the credentials in a docker config, by registry: the whole of a config.json, or only what
// stands in its "auths", as the older .dockercfg has it. Errors say nothing of what stands in it.
func readDockerConfig(data []byte) (map[string]authn.AuthConfig, error) {
	type entry struct {
		Username      string `json:"username"`
		Password      string `json:"password"`
		Auth          string `json:"auth"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	}
	var config struct {
		Auths map[string]entry `json:"auths"`
	}
	err := json.Unmarshal(data, &config)
	if err == nil && config.Auths == nil {
		err = json.Unmarshal(data, &config.Auths)
	}
	if err != nil {
		return nil, errors.New("that is not a docker config")
	}
	all := make(map[string]authn.AuthConfig, len(config.Auths))
	for where, e := range config.Auths {
		if e.Auth != "" {
			// Docker Desktop leaves out the padding. The kubelet reads both.
			pair, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(e.Auth, "=\r\n"))
			user, password, ok := strings.Cut(string(pair), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("the auth of %s is not a name and a password", where)
			}
			e.Username, e.Password = user, strings.TrimRight(password, "\x00")
		}
		all[where] = authn.AuthConfig{
			Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken,
		}
	}
	return all, nil
}
