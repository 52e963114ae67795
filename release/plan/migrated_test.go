package plan

import (
	"strings"
	"testing"
)

func TestMigrationReaderSaysWhetherAJobMigrated(t *testing.T) {
	tests := map[string]struct {
		patterns Patterns
		log      string
		broken   bool // the log is not whole, or the job failed
		want     Migration
	}{
		"Flyway applied two": {want: DidMigrate, log: `
Flyway Community Edition 6.0.8 by Redgate
Database: jdbc:postgresql://localhost:5432/workbench (PostgreSQL 10.9)
Successfully validated 12 migrations (execution time 00:00.035s)
Current version of schema "public": 10
Migrating schema "public" to version 11 - add index
Migrating schema "public" to version 12 - drop column
Successfully applied 2 migrations to schema "public" (execution time 00:00.067s)`},
		"Flyway 10 applied one": {want: DidMigrate, log: `
Migrating schema "public" to version "2 - align guest"
Successfully applied 1 migration to schema "public", now at version v2 (execution time 00:00.009s)`},
		"Flyway in Spring, with a prefix, ran a repeatable one": {want: DidMigrate, log: `
2019-07-07 19:31:38.000  INFO 1 --- [ main] o.f.core.internal.command.DbMigrate : Migrating schema "public" with repeatable migration "views"`},
		"Flyway failed half way": {want: DidMigrate, broken: true, log: `
Migrating schema "app" to version "3 - boom"
ERROR: Migration of schema "app" to version "3 - boom" failed! Please restore backups and roll back database and code!`},
		"Flyway had nothing to do": {want: DidNotMigrate, log: `
Current version of schema "public": 12
Schema "public" is up to date. No migration necessary.`},
		"Flyway found a newer schema": {want: DidNotMigrate, log: `
WARNING: Schema "public" has a version (13) that is newer than the latest available migration (12) !
Schema "public" is up to date. No migration necessary.`},
		"Flyway had nothing to do, but the log broke off": {want: MaybeMigrated, broken: true, log: `
Schema "public" is up to date. No migration necessary.`},
		"Django applied one": {want: DidMigrate, log: `
Operations to perform:
  Apply all migrations: admin, auth, contenttypes, server, sessions
Running migrations:
  Applying server.0013_auto_20190129... OK`},
		"Django applied one in colour": {want: DidMigrate, log: "  Applying server.0013_auto_20190129...\x1b[32;1m OK\x1b[0m"},
		"Django failed in one":         {want: DidMigrate, broken: true, log: "  Applying server.0013_auto_20190129...Traceback (most recent call last):"},
		"Django had nothing to do": {want: DidNotMigrate, log: `
Operations to perform:
  Apply all migrations: admin, auth, contenttypes, server, sessions
Running migrations:
  No migrations to apply.
  Your models have changes that are not yet reflected in a migration, and so won't be applied.`},
		"Alembic upgraded": {want: DidMigrate, log: `
INFO  [alembic.runtime.migration] Context impl PostgresqlImpl.
INFO  [alembic.runtime.migration] Will assume transactional DDL.
INFO  [alembic.runtime.migration] Running upgrade 1975ea83b712 -> ae1027a6acf, Add a column`},
		"Alembic upgraded from nothing": {want: DidMigrate, log: `
INFO  [alembic.runtime.migration] Will assume transactional DDL.
INFO  [alembic.runtime.migration] Running upgrade  -> 1975ea83b712, create account table`},
		"Alembic had nothing to do": {want: DidNotMigrate, log: `
INFO  [alembic.runtime.migration] Context impl MySQLImpl.
INFO  [alembic.runtime.migration] Will assume non-transactional DDL.`},
		"Rails migrated": {want: DidMigrate, log: `
== 20190101120000 CreateProducts: migrating ===================================
-- create_table(:products)
   -> 0.0028s
== 20190101120000 CreateProducts: migrated (0.0028s) ==========================`},
		"Rails says nothing when there is nothing to do": {want: MaybeMigrated, log: ""},
		"something else says nothing that is known":      {want: MaybeMigrated, log: "All done."},
		"one tool had nothing to do, another had": {want: DidMigrate, log: `
  Applying server.0013_auto_20190129... OK
Schema "public" is up to date. No migration necessary.`},
		"a pattern of one's own for nothing": {
			patterns: Patterns{Nothing: []string{`^schema unchanged$`}}, log: "schema unchanged", want: DidNotMigrate,
		},
		"a pattern of one's own for a migration": {
			patterns: Patterns{Migrated: []string{`^ALTER TABLE`}}, log: "ALTER TABLE x\n  No migrations to apply.", want: DidMigrate,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := NewMigrationReader(tt.patterns)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(tt.log, "\n") {
				r.Line(line)
			}
			if got := r.Answer(!tt.broken); got != tt.want {
				t.Errorf("migrated: %s, want %s", got, tt.want)
			}
		})
	}
}

func TestNewMigrationReaderRefusesABadPattern(t *testing.T) {
	for _, p := range []Patterns{{Migrated: []string{"("}}, {Nothing: []string{"("}}} {
		if _, err := NewMigrationReader(p); err == nil || !strings.Contains(err.Error(), `pattern "("`) {
			t.Errorf("%v: %v", p, err)
		}
	}
}
