package plan

import (
	"fmt"
	"regexp"
	"slices"
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
// was migrated, whatever else the log says; otherwise a line that matches one of Nothing says that nothing was.
type Patterns struct {
	Migrated []string `json:"migrated,omitzero"`
	Nothing  []string `json:"nothing,omitzero"`
}

// DefaultPatterns gives the words of the usual tools. Rails says nothing when it does nothing, so its silence counts
// as a migration: let such a job print a line of its own, and set the pattern for it.
func DefaultPatterns() Patterns {
	return Patterns{
		Migrated: []string{
			// Flyway, org.flywaydb.core.internal.command.DbMigrate. The second is written before each migration, and
			// so also by a run that fails half way.
			`Successfully applied [1-9][0-9,.]* migrations?\b`,
			`Migrating schema .+ (to version|with repeatable migration) `,
			// Django, django/core/management/commands/migrate.py. A line ends in OK or FAKED, or in neither if it fails.
			`\b(Applying|Unapplying) \S+\.\S+\.\.\.`,
			// Alembic, alembic/runtime/migration.py.
			`\bRunning (upgrade|downgrade|stamp_revision) .*->`,
			// Rails, activerecord/lib/active_record/migration.rb.
			`== .*: (migrating|migrated|reverting|reverted) .*==`,
		},
		Nothing: []string{
			`\bNo migration necessary\.`,               // Flyway
			`^\s*No migrations to apply\.`,             // Django
			`\bWill assume (non-)?transactional DDL\.`, // Alembic's greeting: it would have said more, at the same level
		},
	}
}

// MigrationReader reads a job's log, line by line, for whether it migrated.
type MigrationReader struct {
	SawMigrated bool // a line said that something was migrated; to be set if an earlier reader saw one

	migrated, nothing []*regexp.Regexp
	sawNothing        bool
}

// NewMigrationReader makes a reader. Empty lists of patterns are the default ones.
func NewMigrationReader(p Patterns) (*MigrationReader, error) {
	d := DefaultPatterns()
	if len(p.Migrated) == 0 {
		p.Migrated = d.Migrated
	}
	if len(p.Nothing) == 0 {
		p.Nothing = d.Nothing
	}
	var r MigrationReader
	var err error
	if r.migrated, err = compile(p.Migrated); err != nil {
		return nil, err
	}
	if r.nothing, err = compile(p.Nothing); err != nil {
		return nil, err
	}
	return &r, nil
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

// Line reads one line. Terminal colours do not matter.
func (r *MigrationReader) Line(line string) {
	line = colours.ReplaceAllString(line, "")
	matches := func(re *regexp.Regexp) bool { return re.MatchString(line) }
	r.SawMigrated = r.SawMigrated || slices.ContainsFunc(r.migrated, matches)
	r.sawNothing = r.sawNothing || slices.ContainsFunc(r.nothing, matches)
}

// Answer says what the log says, once it has been read. Nothing but a whole log of a job that succeeded can say that
// nothing was migrated.
func (r *MigrationReader) Answer(whole bool) Migration {
	switch {
	case r.SawMigrated:
		return DidMigrate
	case r.sawNothing && whole:
		return DidNotMigrate
	}
	return MaybeMigrated
}
