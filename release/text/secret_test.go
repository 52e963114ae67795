package text

import (
	"strings"
	"testing"
)

const runs = "1f0a9c2d4e5b6a7f8091a2b3c4d5e6f708192a3b"

func TestWhyMaskedKnowsManyNamesAndForms(t *testing.T) {
	for _, v := range [][2]string{
		{"DB_PW", "hunter2"},
		{"SMTP_PW", "Correct-Horse"},
		{"DBPW", "hunter2"},
		{"dbPw", "hunter2"},
		{"VPN_PSK", "s3cretpsk"},
		{"WALLET_MNEMONIC", "abandon ability able about above absent"},
		{"SEED_PHRASE", "abandon ability"},
		{"DB_CREDS", "admin/hunter2"},
		{"CRED", "x"},
		{"BASIC", "admin:hunter2"},
		{"HTTP_BASIC", "admin:hunter2"},
		{"ADMIN", "admin:hunter2"},
		{"API_USER", "admin:hunter2"},
		{"REGISTRY", "admin:hunter2"},
		{"X", "Root:x"},
		{"X", "xapp-1-A-2-b"},
		{"GITHUB", "0123456789abcdef0123456789abcdef01234567"},
		{"COMMIT_OF_ANOTHER", "0123456789abcdef0123456789abcdef01234567"},
		{"MAILGUN_API", "keyless-3ax6xnjp29jd6fds4gc373sgvjxteol0"},
		{"DISCORD_URL", "https://discord.com/api/webhooks/1234567890/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"},
		{"DISCORD_URL", "https://discord.com/api/x/1234567890/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"},
		{"TELEGRAM_URL", "https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/sendMessage"},
		{"PAGERDUTY_URL", "https://events.pagerduty.com/integration/0123456789abcdef0123456789abcdef/enqueue"},
		{"SENTRY_ADDRESS", "https://sentry.example/api/1/store/?sentry_id=0123456789abcdef0123456789abcdef"},
		{"TEAMS", "https://example.webhook.office.com/webhookb2/x/IncomingWebhook/y"},
		{"IFTTT", "https://maker.ifttt.com/trigger/deployed/with/key/abc"},
		{"PING", "https://hc-ping.com/d9b1d7db-4c5c-4a5c-8a5c-0123456789ab"},
		{"ADMIN_PIN", "4711"},
		{"adminPin", "4711"},
		{"HASH_SEED", "0badc0de0badc0de0badc0de"},
		{"STORAGE_SAS", "x"},
		{"ARGS", "--id 0123456789abcdef0123456789abcdef --quiet"},
		{"ALL", "a=1,b=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLE"},
	} {
		if WhyMasked(v[0], v[1], []string{runs}) == "" {
			t.Errorf("shown: %s=%s", v[0], v[1])
		}
	}
	for _, v := range [][2]string{
		{"COMMIT", runs},
		{"ANYTHING", runs},
		{"IMAGE", "gcr.io/acme/frontend:" + runs},
		{"SOURCE", "https://github.com/acme/app/tree/" + runs},
		{"IMAGE", "gcr.io/acme/frontend@sha256:" + strings.Repeat("0a1b2c3d", 8)},
		{"SHIPPING_ADDRESS", "https://shipping.example/v1"},
		{"PING_INTERVAL", "30s"},
		{"UPWARD", "yes"},
		{"USER", "admin"},
		{"PROXY", "squid:3128"},
		{"ADMIN_ADDRESS", "https://admin.example/"},
		{"HOST", "rabbitmq-service.production.svc.cluster.local:5672"},
		{"TAG", "nginx:1.25-alpine"},
		{"TAG", "postgres:16-alpine"},
		{"ADDRESS", "admin:8080"},
		{"NAME", "production-orders-eu-west-1-primary"},
		{"LEVELS", "app:debug,http:info"},
		{"FILE", "/etc/Unstuck2/config.yaml"},
		{"POD", "frontend-deployment-6d5f9c7b9d-abcde"},
	} {
		if why := WhyMasked(v[0], v[1], []string{runs}); why != "" {
			t.Errorf("hidden: %s=%s: %s", v[0], v[1], why)
		}
	}
}

func TestMaskLineTakesOutWhatLooksLikeASecretAndLeavesTheRest(t *testing.T) {
	for line, want := range map[string]string{
		"no module named render":                                        "no module named render",
		"Schema is up to date. No migration necessary.":                 "Schema is up to date. No migration necessary.",
		"connect to postgres://me:hunter2@db/x failed":                  "connect to [masked] failed",
		"password=hunter2 is wrong":                                     "[masked] is wrong",
		`login failed: {"user": "me", "password": "hunter 2", "at": 1}`: `login failed: {"user": "me", [masked], "at": 1}`,
		"> Authorization: Bearer abc.def":                               "> Authorization: [masked]",
		"Authorization: Basic YWRtaW46aHVudGVyMg==":                     "Authorization: [masked]",
		"curl -u me:hunter2 https://x/":                                 "curl [masked] https://x/",
		"environ({'DB_PW': 'hunter2', 'DEBUG': '1'})":                   "environ({'DB_PW': [masked], 'DEBUG': '1'})",
		"DB_PW=hunter2":                                                   "DB_PW=[masked]",
		"key AKIAIOSFODNN7EXAMPLE was rejected":                           "key [masked] was rejected",
		"got wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLE":                         "got [masked]",
		"POST https://discord.com/api/webhooks/1/x: 404":                  "POST [masked] 404",
		"deploying " + runs:                                               "deploying " + runs,
		"deploying 0123456789abcdef0123456789abcdef01234567":              "deploying [masked]",
		"ERROR: relation \"users\" does not exist":                        "ERROR: relation \"users\" does not exist",
		"2026-11-23T18:00:00.123456789Z INFO started in 3.2 s":            "2026-11-23T18:00:00.123456789Z INFO started in 3.2 s",
		"  File \"/usr/local/lib/python3.12/site-packages/a.py\", line 3": "  File \"/usr/local/lib/python3.12/site-packages/a.py\", line 3",
		"-----------------------------------------------":                 "-----------------------------------------------",
		"": "",
	} {
		got := MaskLine(line, []string{runs})
		if got != want {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
		if again := MaskLine(got, []string{runs}); again != got {
			t.Errorf("%q again became %q", got, again)
		}
	}
}

func BenchmarkMaskLine(b *testing.B) {
	for b.Loop() {
		MaskLine("2026-11-23T18:00:00.123Z INFO  [main] com.example.app.Service : request 4711 of user 42 took 13 ms at /api/v1/things/17?x=1", nil)
	}
}
