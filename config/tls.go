package config

import (
	"cmp"
	"strings"
)

// TLS says how to trust a broker, and how it may trust us.
type TLS struct {
	CAFile     string       // of the authorities to trust; empty, and CASecret nil: the system's
	CASecret   *CASecret    // instead of CAFile
	CertFile   string       // of the client; empty, and CertSecret nil: none
	KeyFile    string       // of that certificate
	CertSecret *CertSecret  // instead of CertFile and KeyFile
	ServerName NameTemplate // the name to expect; empty: the host of the node's address
}

// CASecret names a Secret of the cluster that holds certificates of authorities, and its key.
type CASecret struct{ Namespace, Name, Key string }

// CertSecret names a Secret of the cluster that holds a certificate and its key, and the Secret's keys of both.
type CertSecret struct{ Namespace, Name, CertKey, KeyKey string }

// NameTemplate is the name in a certificate, in which {pod} stands for the node's pod and {namespace} for its
// namespace.
type NameTemplate string

const wantServerName = "the name in the broker's certificate, where {pod} and {namespace} stand for those of the node"

// Of gives the name for one pod; of a listed node the pod is the node's name.
func (t NameTemplate) Of(pod, namespace string) string {
	return strings.NewReplacer("{pod}", pod, "{namespace}", namespace).Replace(string(t))
}

// wrong says whether there is anything else in braces than what Of knows.
func (t NameTemplate) wrong() bool { return strings.ContainsAny(t.Of("", ""), "{}") }

// clone gives one that shares nothing with t.
func (t *TLS) clone() *TLS {
	if t == nil {
		return nil
	}
	c := *t
	if t.CASecret != nil {
		ca := *t.CASecret
		c.CASecret = &ca
	}
	if t.CertSecret != nil {
		cert := *t.CertSecret
		c.CertSecret = &cert
	}
	return &c
}

// hasCert says whether we have a certificate to present.
func (t *TLS) hasCert() bool { return t != nil && (t.CertFile != "" || t.CertSecret != nil) }

// tls reads the section whose presence alone asks for TLS. A Secret takes the place of files from the defaults, and
// the reverse.
func (s *section) tls(b *Broker) {
	_, there := s.values["tls"]
	t := b.TLS.clone()
	if t == nil {
		t = &TLS{}
	}
	sub := s.sub("tls")
	var ca, cert, key string
	sub.text("ca_file", none, wantFile, &ca)
	caSecret := sub.caSecret()
	sub.text("cert_file", none, wantFile, &cert)
	sub.text("key_file", none, wantFile, &key)
	certSecret := sub.certSecret()
	sub.text("server_name", none, wantServerName, (*string)(&t.ServerName))
	switch {
	case ca != "" && caSecret != nil:
		sub.problem(sub.key("ca_file"), "there is a ca_secret too: want one of them")
	case ca != "" || caSecret != nil:
		t.CAFile, t.CASecret = ca, caSecret
	}
	switch {
	case cert+key != "" && certSecret != nil:
		sub.problem(sub.key("cert_secret"), "there is a cert_file or a key_file too: want one of them")
	case certSecret != nil:
		t.CertFile, t.KeyFile, t.CertSecret = "", "", certSecret
	case cert+key != "":
		t.CertFile, t.KeyFile, t.CertSecret = cmp.Or(cert, t.CertFile), cmp.Or(key, t.KeyFile), nil
	}
	if t.ServerName.wrong() {
		sub.problem(sub.key("server_name"), "%s: want %s", quote(string(t.ServerName)), wantServerName)
	}
	sub.end()
	if there {
		b.TLS = t
	}
}

// caSecret reads which Secret holds the authorities; nil if there is no such section.
func (s *section) caSecret() *CASecret {
	_, there := s.values["ca_secret"]
	k := CASecret{Key: "ca.crt"}
	sub := s.sub("ca_secret")
	sub.secretName(there, &k.Namespace, &k.Name)
	sub.named("key", k.Key, secretKey, wantKey, &k.Key)
	sub.end()
	if !there {
		return nil
	}
	return &k
}

// certSecret reads which Secret holds our certificate and its key; nil if there is no such section. The defaults are
// the keys of Secrets of the type kubernetes.io/tls.
func (s *section) certSecret() *CertSecret {
	_, there := s.values["cert_secret"]
	k := CertSecret{CertKey: "tls.crt", KeyKey: "tls.key"}
	sub := s.sub("cert_secret")
	sub.secretName(there, &k.Namespace, &k.Name)
	sub.named("cert_key", k.CertKey, secretKey, wantKey, &k.CertKey)
	sub.named("key_key", k.KeyKey, secretKey, wantKey, &k.KeyKey)
	sub.end()
	if !there {
		return nil
	}
	return &k
}

// secretName reads the namespace and the name of a Secret.
func (s *section) secretName(there bool, namespace, name *string) {
	s.named("namespace", none, brokerName, wantBroker, namespace)
	s.named("name", required, objectName, wantObject, name)
	if there {
		s.missing("name", *name, wantObject)
	}
}

// checkTLS notes what is wrong with keys that are each right by themselves.
func (d *decoder) checkTLS(at keyed, b Broker) {
	if b.AuthMechanism == External && !b.TLS.hasCert() && !d.wrong(at("tls")) {
		d.problem(at("auth_mechanism"),
			"external says who we are by our certificate: want tls.cert_file and tls.key_file, or tls.cert_secret")
	}
	if b.TLS == nil {
		return
	}
	switch {
	case b.TLS.CertFile != "" && b.TLS.KeyFile == "":
		d.problem(at("tls", "key_file"), "missing: want the key of the certificate in cert_file")
	case b.TLS.CertFile == "" && b.TLS.KeyFile != "":
		d.problem(at("tls", "cert_file"), "missing: want the certificate of the key in key_file")
	}
}

// checkListedTLS notes what cannot be in the TLS of nodes that are no pods.
func (d *decoder) checkListedTLS(at keyed, b Broker) {
	if b.TLS == nil {
		return
	}
	const missing = "missing: want the secret's namespace, for the nodes are no pods and have none"
	if b.TLS.CASecret != nil && b.TLS.CASecret.Namespace == "" {
		d.problem(at("tls", "ca_secret", "namespace"), missing)
	}
	if b.TLS.CertSecret != nil && b.TLS.CertSecret.Namespace == "" {
		d.problem(at("tls", "cert_secret", "namespace"), missing)
	}
	if strings.Contains(string(b.TLS.ServerName), "{namespace}") {
		d.problem(at("tls", "server_name"), "it has {namespace}: want the namespace itself, for the nodes are no pods "+
			"and have none")
	}
}
