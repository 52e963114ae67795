package kube

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

func rabbitSecret(password string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "rabbit"},
		Data:       map[string][]byte{"username": []byte("rabbit\n"), "password": []byte(password)},
	}
}

func credentials(t *testing.T, s *Secret, want target.Credentials) {
	t.Helper()
	if got, err := s.Credentials(t.Context()); err != nil || got != want {
		t.Errorf("%#v, %v: want %#v", got, err, want)
	}
}

func TestSecretCredentialsAreReadFromTheNamedSecretAlone(t *testing.T) {
	c := kubetest.NewCluster(t, rabbitSecret("one\n"))
	client := clientOf(c)
	credentials(t, client.Secret(SecretRef{Namespace: ns, Name: "rabbit", UsernameKey: "username", PasswordKey: "password"}),
		target.Credentials{Username: "rabbit", Password: "one"})
	credentials(t, client.Secret(SecretRef{Namespace: ns, Name: "rabbit", Username: "other", PasswordKey: "password"}),
		target.Credentials{Username: "other", Password: "one"})
	if n, all := c.Asked("get secrets rabbit"), c.Asked(""); n != 2 || all != 2 {
		t.Errorf("%d of %d requests were for that secret", n, all)
	}
}

func TestSecretCredentialsAreReadAgainAfterAWhileAndWhenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, rabbitSecret("one"))
		s := clientOf(c).Secret(SecretRef{Namespace: ns, Name: "rabbit", Username: "u", PasswordKey: "password"})
		one, two, three := target.Credentials{Username: "u", Password: "one"}, target.Credentials{Username: "u", Password: "two"}, target.Credentials{Username: "u", Password: "three"}
		credentials(t, s, one)
		c.Put(rabbitSecret("two"))
		pass(29 * time.Second)
		credentials(t, s, one)
		pass(time.Second)
		credentials(t, s, two)
		c.Put(rabbitSecret("three"))
		credentials(t, s, two)
		pass(secretRetry)
		s.Refused()
		credentials(t, s, three)
		if n := c.Asked("get secrets"); n != 3 {
			t.Errorf("read %d times, want 3", n)
		}
	})
}

func TestSecretCredentialsServeOnWithoutTheAPIServerUnlessRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, rabbitSecret("one"))
		s := clientOf(c).Secret(SecretRef{Namespace: ns, Name: "rabbit", Username: "u", PasswordKey: "password"})
		one := target.Credentials{Username: "u", Password: "one"}
		credentials(t, s, one)
		c.SetGone(true)
		pass(time.Hour)
		credentials(t, s, one)
		credentials(t, s, one)
		if n := c.Asked("get secrets"); n != 2 {
			t.Errorf("asked %d times: each costs time of a login", n)
		}
		s.Refused() // right after it could not be read: nobody asks again, and nobody uses it
		if got, err := s.Credentials(t.Context()); err == nil {
			t.Errorf("%v are used again after they were refused", got)
		}
		if n := c.Asked("get secrets"); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
		c.SetGone(false)
		pass(secretRetry)
		credentials(t, s, one)
	})
}

// Many logins have the same credentials, and each waits for the others' reads.
func TestSecretIsReadAgainOnlyAfterAWhileWhateverBecomesOfLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		s := clientOf(c).Secret(SecretRef{Namespace: ns, Name: "rabbit", Username: "u", PasswordKey: "password"})
		asked := func(want int) {
			t.Helper()
			if n := c.Asked("get secrets"); n != want {
				t.Errorf("read %d times, want %d", n, want)
			}
		}
		for range 10 {
			if got, err := s.Credentials(t.Context()); err == nil {
				t.Errorf("%v, of a Secret that is not there", got)
			}
		}
		asked(1)
		c.Put(rabbitSecret("one"))
		pass(secretRetry)
		one, two := target.Credentials{Username: "u", Password: "one"}, target.Credentials{Username: "u", Password: "two"}
		for range 10 {
			credentials(t, s, one)
			s.Refused()
		}
		asked(2)
		c.Put(rabbitSecret("two"))
		pass(secretRetry - time.Second)
		credentials(t, s, one)
		asked(2)
		pass(time.Second) // that it was refused is not forgotten
		credentials(t, s, two)
		asked(3)
	})
}

func TestSecretIsReadAtOnceAfterALoginThatWasStopped(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-r.Context().Done()
	}))
	defer server.Close()
	conn, err := apiserver.ForConfig(&rest.Config{Host: server.URL}, "unstuck", kubetest.Quiet())
	if err != nil {
		t.Fatal(err)
	}
	s := New(conn, Options{}).SecretValues(ns, "rabbit", "password")
	for want := range int64(2) {
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			for asked.Load() <= want && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			stop()
		}()
		if values, err := s.Get(ctx); err == nil || asked.Load() != want+1 {
			t.Errorf("%q, %v; asked %d times, want %d", values, err, asked.Load(), want+1)
		}
		stop()
	}
}

// A login waits for its credentials with its own deadline running.
func TestSecretReadTakesLittleOfALoginsTime(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	conn, err := apiserver.ForConfig(&rest.Config{Host: server.URL}, "unstuck", kubetest.Quiet())
	if err != nil {
		t.Fatal(err)
	}
	client := New(conn, Options{})
	began := time.Now()
	_, err = client.Secret(SecretRef{Namespace: ns, Name: "rabbit", PasswordKey: "password"}).Credentials(t.Context())
	if took := time.Since(began); err == nil || took > 2*secretTimeout {
		t.Errorf("%v after %s", err, took)
	}
}

func TestSecretSaysWhatIsWrongWithItAndNothingOfWhatIsInIt(t *testing.T) {
	var log bytes.Buffer
	c := kubetest.NewCluster(t, rabbitSecret("hunter2"))
	conn := c.Conn()
	conn.Log = slog.New(slog.NewTextHandler(&log, nil))
	client := New(conn, Options{})
	for _, tc := range []struct {
		ref    SecretRef
		denied bool
		want   string
	}{
		{SecretRef{Namespace: ns, Name: "none", PasswordKey: "password"}, false, "read secret production/none: secrets \"none\" not found"},
		{SecretRef{Namespace: ns, Name: "rabbit", PasswordKey: "pass"}, false, "read secret production/rabbit: it has no key pass"},
		{SecretRef{Namespace: ns, Name: "rabbit", UsernameKey: "user", PasswordKey: "password"}, false, "it has no key user"},
		{SecretRef{Namespace: ns, Name: "rabbit", PasswordKey: "password"}, true, "not allowed: get secrets rabbit in namespace production"},
	} {
		c.Deny("get", "secrets", tc.denied)
		s := client.Secret(tc.ref)
		_, err := s.Credentials(t.Context())
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v\nwant ...%s...", err, tc.want)
		}
		if shown := fmt.Sprintf("%v %+v", err, s.SecretRef); strings.Contains(shown+log.String(), "hunter2") {
			t.Errorf("the password shows: %s", shown)
		}
	}
}

func TestSecretIsAtFaultUntilItCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		s := clientOf(c).Secret(SecretRef{Namespace: ns, Name: "rabbit", Username: "u", PasswordKey: "password"})
		fault := func(want string) {
			t.Helper()
			pass(secretRetry)
			_, _ = s.Credentials(t.Context()) // as the next login does
			if got := fmt.Sprint(s.Err()); !strings.Contains(got, want) {
				t.Errorf("the fault is %s, want ...%s...", got, want)
			}
		}
		if err := s.Err(); err != nil {
			t.Errorf("before anybody read it: %v", err)
		}
		fault(`read secret production/rabbit: secrets "rabbit" not found`)
		empty := rabbitSecret("")
		delete(empty.Data, "password")
		c.Put(empty)
		fault("it has no key password")
		c.Put(rabbitSecret("one"))
		fault("<nil>")
		c.Deny("get", "secrets", true)
		pass(time.Minute)
		fault("not allowed") // though what was read before serves on
		credentials(t, s, target.Credentials{Username: "u", Password: "one"})
		c.Deny("get", "secrets", false)
		pass(time.Minute)
		fault("<nil>")
	})
}

func TestSecretValuesAreThoseOfTheKeysAndServeOnUnlessRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, rabbitSecret("one"))
		s := clientOf(c).SecretValues(ns, "rabbit", "password")
		got := func(want string) {
			t.Helper()
			values, err := s.Get(t.Context())
			if len(values) != 1 || string(values["password"]) != want || err != nil {
				t.Errorf("%q, %v: want %s alone", values, err, want)
			}
		}
		got("one")
		c.Put(rabbitSecret("two"))
		pass(secretAge)
		got("two")
		without := rabbitSecret("")
		delete(without.Data, "password")
		c.Put(without)
		pass(secretAge)
		got("two")
		const want = "read secret production/rabbit: it has no key password"
		if err := s.Err(); err == nil || err.Error() != want {
			t.Errorf("the fault is %v, want %s", err, want)
		}
		s.Refused()
		if values, err := s.Get(t.Context()); values != nil || err == nil || err.Error() != want {
			t.Errorf("refused: %q, %v", values, err)
		}
	})
}
