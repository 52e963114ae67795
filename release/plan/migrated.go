package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Migration says whether something migrated a database. The zero value is MaybeMigrated, which counts as migrated
// wherever something depends on it.
type Migration uint8

// The three answers.
const (
	MaybeMigrated Migration = iota // the log does not say, or is not whole
	DidNotMigrate
	DidMigrate
)

var migrationNames = [...]string{MaybeMigrated: "maybe", DidNotMigrate: "no", DidMigrate: "yes"}

func (m Migration) String() string {
	if int(m) < len(migrationNames) {
		return migrationNames[m]
	}
	return migrationNames[MaybeMigrated]
}

// MarshalText gives "yes", "no" or "maybe".
func (m Migration) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Migration) UnmarshalText(text []byte) error {
	i := slices.Index(migrationNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("migrated %q: want one of %v", text, migrationNames)
	}
	*m = Migration(i)
	return nil
}

// Patterns are regular expressions for lines of a job's log. A line that matches one of Migrated says that something
// was migrated, whatever else the log says; otherwise a line that matches one of Nothing says that the container that
// wrote it migrated nothing.
type Patterns struct {
	Migrated []string `json:"migrated,omitzero"`
	Nothing  []string `json:"nothing,omitzero"`
}

// MigrationReader reads a job's log, line by line, for whether it migrated.
type MigrationReader struct {
	SawMigrated bool // a line said that something was migrated; to be set if an earlier reader saw one

	migrated, nothing []*regexp.Regexp
	greetings         bool              // count as well, where nothing else was written
	said              map[string]saying // by container, of those that wrote anything
}

// saying is what a container's lines come to.
type saying struct{ nothing, greeting, other bool }

// NewMigrationReader makes a reader. Empty lists of patterns are the default ones.
func NewMigrationReader(p Patterns) (*MigrationReader, error) {
	r := MigrationReader{greetings: len(p.Nothing) == 0, said: make(map[string]saying)}
	var err error
	if r.migrated, err = compileOr(p.Migrated, defaultMigrated); err != nil {
		return nil, err
	}
	if r.nothing, err = compileOr(p.Nothing, defaultNothing); err != nil {
		return nil, err
	}
	return &r, nil
}

// The default patterns are many, and a reader is made for each look at a log and each check of a job.
var (
	defaultMigrated = mustCompile(DefaultPatterns().Migrated)
	defaultNothing  = mustCompile(DefaultPatterns().Nothing)
)

func mustCompile(patterns []string) []*regexp.Regexp {
	all := make([]*regexp.Regexp, len(patterns))
	for i, p := range patterns {
		all[i] = regexp.MustCompile(p)
	}
	return all
}

func compileOr(patterns []string, byDefault []*regexp.Regexp) ([]*regexp.Regexp, error) {
	if len(patterns) == 0 {
		return byDefault, nil
	}
	return compile(patterns)
}

func compile(patterns []string) ([]*regexp.Regexp, error) {
	all := make([]*regexp.Regexp, len(patterns))
	for i, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
		all[i] = re
	}
	return all, nil
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Line reads one line of a log of which nobody tells the containers.
func (r *MigrationReader) Line(line string) { r.LineOf("", line) }

// LineOf reads one line that a container wrote. Terminal colours do not matter.
func (r *MigrationReader) LineOf(container, line string) {
	line = colours.ReplaceAllString(line, "")
	if strings.TrimSpace(line) == "" {
		return
	}
	r.SawMigrated = r.SawMigrated || matchesAny(r.migrated, line)
	s := r.said[container]
	s.nothing = s.nothing || matchesAny(r.nothing, line)
	switch {
	case r.greetings && alembicGreeting.MatchString(line):
		s.greeting = true
	case !alembicLine.MatchString(line):
		s.other = true
	}
	r.said[container] = s
}

func matchesAny(patterns []*regexp.Regexp, line string) bool {
	return slices.ContainsFunc(patterns, func(re *regexp.Regexp) bool { return re.MatchString(line) })
}

// Answer says what the log says, once it has been read. Nothing but a whole log of a job that succeeded can say that
// nothing was migrated, and each container that wrote anything must say so: what one tool leaves alone another may not.
func (r *MigrationReader) Answer(whole bool) Migration {
	if r.SawMigrated {
		return DidMigrate
	}
	for _, s := range r.said {
		whole = whole && (s.nothing || (s.greeting && !s.other))
	}
	if whole && len(r.said) > 0 {
		return DidNotMigrate
	}
	return MaybeMigrated
}
