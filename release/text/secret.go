package text

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// What looks like a secret, in the variables of pods and in the lines of logs that are kept. It is a guess, by names
// and forms, and hides too much rather than too little: people who must know can ask kubectl.

// secretNames are parts of the names of variables whose values nobody should see, MONKEY among them, which has KEY.
var secretNames = []string{
	"PASS", "PWD", "SECRET", "TOKEN", "KEY", "CRED", "PRIVATE", "AUTH", "COOKIE", "SALT", "SIGNATURE", "SIGNING",
	"CERT", "DSN", "WEBHOOK", "BEARER", "JWT", "SESSION", "OTP", "PEM", "CONNECTION_STRING", "CONNSTR", "PEPPER",
	"LICENSE", "PSK", "MNEMONIC", "SEED", "PHRASE", "BASIC", "HMAC", "CSRF", "XSRF", "KUBECONFIG", "PINCODE", "RECOVERY",
}

// secretWords are likewise whole words in names: SHIPPING has PIN, and is none.
var secretWords = []string{"PW", "PIN", "PINS", "SAS", "MFA", "2FA", "PFX", "P12"}

// accountNames are parts of the names of variables with a user, to which a password may be added: "admin:hunter2".
var accountNames = []string{"USER", "LOGIN", "ACCOUNT", "ADMIN", "PROXY"}

// secretForm is what a secret looks like under any name.
type secretForm struct {
	parts   []string // one of which it has, in lower case: text without them need not be searched
	pattern *regexp.Regexp
}

func form(parts, pattern string) secretForm {
	return secretForm{strings.Fields(parts), regexp.MustCompile(pattern)}
}

func (f secretForm) mayBeIn(lower string) bool {
	return slices.ContainsFunc(f.parts, func(part string) bool { return strings.Contains(lower, part) })
}

// secretForms are all of them.
var secretForms = []secretForm{
	form(`://`, `://[^\s]*@`),         // a URL with a user, and perhaps a password
	form(`@`, `[^\s:]*:[^\s]*@[^\s]`), // the same without a scheme
	form(`pass pwd secret token key credential sharedaccess sig`,
		`(?i)(pass(word|wd|phrase)?|pwd|secret|token|(api|access)[-_]?key|accountkey|sharedaccess\w*|`+
			`credentials?|sig|signature)["']?\s*[=:]`),
	// an argument of a command
	form(`pass pwd secret token key credential`,
		`(?i)(^|\s)--?[\w-]*(pass(word|wd|phrase)?|pwd|secret|token|key|credentials?)\s+\S`),
	form(`-u -proxy-u`, `(^|\s)(-u|--(proxy-)?user)[\s=]*[^\s:]+:\S`), // of curl
	form(`mysql`, `\bmysql(dump|admin)?\s(.*\s)?-p\S`),
	form(`@`, `^[^\s/]+/[^\s@]+@`), // of Oracle: user/password@database
	form(`%40`, `(?i)%3A.*%40`),    // the second above, in a URL
	form(`bearer basic`, `(?i)\b(bearer|basic)\s+\S`),
	form(`key`, `(?i)(private|encrypted|begin .*)[ _-]key`),
	form(`eyj`, `\beyJ[\w-]{5,}\.`), // a JSON Web Token
	// of well-known services
	form(`_ - . akia asia aiza`,
		`\b(gh[a-z]_|github_pat_|glpat-|xox[a-z]-|[sr]k[-_]|AKIA|ASIA|AIza|SG\.|hv[sb]\.|npm_|dop_v1_|ya29\.|xapp-|whsec_|shp[a-z]{2}_)`),
	// all who have such an address may post to it
	form(`http`, `(?i)https?://(hooks\.|\S*(web-?hook|[/.]hooks?[/.]|/(key|token|secret)s?/))`),
	form(`$`, `\$2[abxy]\$|\$6\$|\$argon2`), // hashes of passwords
}

var (
	hexadecimal = regexp.MustCompile(`^[0-9a-fA-F-]{32,}$`)
	onePiece    = regexp.MustCompile(`^[A-Za-z0-9+/_.~-]{20,}={0,2}$`)
	imageDigest = regexp.MustCompile(`@sha256:[0-9a-f]{64}\b`)
	longRun     = regexp.MustCompile(`[a-z0-9]{24,}|[A-Z0-9]{24,}`)
	userAndPass = regexp.MustCompile(`^[^\s:/]+:[^\s/]\S*$`)
	account     = regexp.MustCompile(`^(?i)(admin\w*|root|user\w*|guest|elastic):[^\s/]\S*$`)
	withPort    = regexp.MustCompile(`^[\w.-]+:[0-9]+$`)
	commits     = regexp.MustCompile(`[0-9a-f]{40}`)
	wordOf      = regexp.MustCompile(`\S+`)
	setting     = regexp.MustCompile(`\b([A-Z_][A-Z0-9_]+)(["']?\s*[=:]\s*)("[^"]*"?|'[^']*'?|\S+)`) // of a variable
	restOfValue = regexp.MustCompile(`^\s*("[^"]*"?|'[^']*'?|\S*)`)
)

// WhyMasked says why the value of a variable is not shown; empty: it is. The commits that run there are no secrets.
func WhyMasked(name, value string, running []string) string {
	upper, value := strings.ToUpper(name), imageDigest.ReplaceAllString(value, "")
	has := func(part string) bool { return strings.Contains(upper, part) }
	switch {
	case value == "":
		return ""
	case slices.ContainsFunc(secretNames, has), slices.ContainsFunc(wordsOf(name), isSecretWord):
		return "its name is like that of a secret"
	case hasForm(value),
		(slices.ContainsFunc(accountNames, has) && userAndPass.MatchString(value) || account.MatchString(value)) &&
			!withPort.MatchString(value),
		hasRandom(value, running):
		return "its value looks like a secret"
	}
	return ""
}

func hasForm(value string) bool {
	lower := strings.ToLower(value)
	return slices.ContainsFunc(secretForms, func(f secretForm) bool {
		return f.mayBeIn(lower) && f.pattern.MatchString(value)
	})
}

func isSecretWord(word string) bool {
	word = strings.ToUpper(word)
	return slices.Contains(secretWords, word) || strings.HasSuffix(word, "PW")
}

// wordsOf gives the words of a name, which are parted by case, or by what is neither a letter nor a digit.
func wordsOf(name string) []string {
	var parted []rune
	small := false
	for _, c := range name {
		if small && unicode.IsUpper(c) {
			parted = append(parted, '_')
		}
		small = unicode.IsLower(c)
		parted = append(parted, c)
	}
	return strings.FieldsFunc(string(parted), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
}

// hasRandom says whether a value, or a part of it, may have been drawn at random, as keys are. An address can have a
// key in its path.
func hasRandom(value string, running []string) bool {
	if looksRandom(strings.TrimSpace(value), running) {
		return true
	}
	return slices.ContainsFunc(strings.FieldsFunc(value, func(c rune) bool {
		return unicode.IsSpace(c) || strings.ContainsRune("./:;,?&=#%$@*!\\`\"'()[]{}<>|", c)
	}), func(part string) bool { return looksRandom(part, running) })
}

// looksRandom says whether text may have been drawn at random: long, of one piece, and either hexadecimal, or of
// capital letters, small letters and digits, or of one case and digits without a break.
func looksRandom(text string, running []string) bool {
	if len(text) < 20 || slices.Contains(running, text) {
		return false
	}
	has := func(from, to rune) bool {
		return strings.ContainsFunc(text, func(r rune) bool { return r >= from && r <= to })
	}
	if !has('0', '9') {
		return false
	}
	return hexadecimal.MatchString(text) ||
		onePiece.MatchString(text) && !strings.HasPrefix(text, "/") && has('A', 'Z') && has('a', 'z') ||
		slices.ContainsFunc(longRun.FindAllString(text, -1), func(run string) bool {
			return strings.ContainsAny(run, "0123456789") && strings.ContainsFunc(run, unicode.IsLetter) &&
				!slices.Contains(running, run)
		})
}

// CommitsIn gives the commits that the names of images have.
func CommitsIn(images ...string) (found []string) {
	for _, image := range images {
		found = append(found, commits.FindAllString(imageDigest.ReplaceAllString(image, ""), -1)...)
	}
	return found
}

const hiddenText = "[masked]"

// MaskLine takes out of a line of a log what would be masked as the value of a variable: the words that look like a
// secret, and what follows on a name that is like that of one.
func MaskLine(line string, running []string) string {
	lower := strings.ToLower(line)
	for _, f := range secretForms {
		if f.mayBeIn(lower) {
			line = f.maskIn(line)
		}
	}
	line = setting.ReplaceAllStringFunc(line, func(pair string) string {
		found := setting.FindStringSubmatch(pair)
		if strings.HasPrefix(found[3], hiddenText) || WhyMasked(found[1], strings.Trim(found[3], `"'`), running) == "" {
			return pair
		}
		return found[1] + found[2] + hiddenText
	})
	return wordOf.ReplaceAllStringFunc(line, func(word string) string {
		if len(word) >= 20 && hasRandom(word, running) {
			return hiddenText
		}
		return word
	})
}

// maskIn takes each place out that has the form: from the beginning of its word to the end of the value there.
func (f secretForm) maskIn(line string) string {
	var kept strings.Builder
	at := 0
	for _, found := range f.pattern.FindAllStringIndex(line, -1) {
		if found[0] < at {
			continue
		}
		begin := found[1] - len(strings.TrimLeft(line[found[0]:found[1]], " \t"))
		begin = at + strings.LastIndexAny(line[at:begin], " \t") + 1
		end := found[1] + len(restOfValue.FindString(line[found[1]:]))
		kept.WriteString(line[at:begin] + hiddenText)
		at = end
	}
	return kept.String() + line[at:]
}
