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

func TestDefaultPatternsKnowWhatEachToolSays(t *testing.T) {
	nothing := "Schema \"public\" is up to date. No migration necessary.\n"
	for want, logs := range map[Migration]map[string]string{
		DidMigrate: {
			"Django, tables without migrations": "  Creating tables...\n    Creating table reports_row\n    Running deferred SQL...\nRunning migrations:\n  No migrations to apply.",
			"Flyway, a callback":                nothing + "Executing SQL callback: afterMigrate - recreate views",
			"Flyway, a callback of each":        nothing + "Executing SQL callback: beforeEachMigrate",
			"Flyway goes back":                  "Undo" + "ing migration of schema \"public\" to version 3 - x",
			"Flyway cleans":                     "Successfully dropped schema \"public\" (execution time 00:00.1s)\n" + nothing,
			"Alembic in JSON":                   `{"logger":"alembic.runtime.migration","message":"Will assume transactional DDL."}` + "\n" + `{"logger":"alembic.runtime.migration","message":"Running upgrade a1 -\u003e b2, drop column"}`,
			"Prisma":                            nothing + "Applying migration `20260101_drop_column`",
			"Prisma, its end":                   nothing + "The following migration(s) have been applied:",
			"Prisma pushes":                     nothing + "Your database is now in sync with your Prisma schema. Done in 25ms",
			"golang-migrate":                    nothing + "42/u drop_column (12.3ms)",
			"golang-migrate goes down":          nothing + "2026/01/02 03:04:05 42/d drop_column (12.3ms)",
			"Liquibase":                         "  No migrations to apply.\nRunning Changeset: db/changelog.xml::42::ada",
			"Liquibase, older":                  nothing + "INFO liquibase: ChangeSet db/changelog.xml::42::ada ran successfully in 5ms",
			"Liquibase, its end":                nothing + "Liquibase: Update has been successful. Rows affected: 7",
			"Liquibase, its summary":            nothing + "UPDATE SUMMARY\nRun:                          2\nPreviously run:               0",
			"Liquibase goes back":               nothing + "Rolling Back Changeset: db/changelog.xml::42::ada",
			"knex":                              nothing + "Batch 3 run: 2 migrations",
			"knex goes back":                    nothing + "Batch 3 rolled back: 1 migrations",
			"EF Core":                           nothing + "Applying migration '20260101000000_DropColumn'.",
			"EF Core goes back":                 nothing + "Reverting migration '20260101000000_DropColumn'.",
			"goose":                             nothing + "OK   00042_drop_column.sql (5.1ms)",
			"goose in Go":                       nothing + "2026/01/02 03:04:05 OK    00042_drop_column.go",
			"goose, its end":                    nothing + "goose: successfully migrated database to version: 42",
			"sqlx":                              nothing + "Applied 20260101000000/migrate drop column (5.1ms)",
			"sqlx goes back":                    nothing + "Applied 20260101000000/revert drop column (5.1ms)",
			"Rails loads a schema":              nothing + "-- create_table(\"products\", {:force=>:cascade})",
			"Sequelize":                         nothing + "== 20260101-drop-column: migrating =======",
			"Diesel":                            nothing + "Running migration 2026-01-01-000000_drop_column",
			"Ecto":                              nothing + "12:00:00.000 [info] == Running 20260101000000 App.Repo.Migrations.Drop.change/0 forward",
			"Laravel":                           nothing + "  2026_01_01_000000_drop_column ........................ 5ms DONE",
			"Laravel, older":                    nothing + "Migrating: 2026_01_01_000000_drop_column",
			"Atlas":                             nothing + "Migrating to version 20260101 from 20250101 (1 migrations in total):",
		},
		DidNotMigrate: {
			"Flyway": nothing, "Flyway, a callback that only connects": nothing + "Executing SQL callback: afterConnect",
			"Liquibase":               "INFO: Database is up to date, no changesets to execute\nUPDATE SUMMARY\nRun:                          0\nLiquibase: Update has been successful. Rows affected: 0",
			"Prisma":                  "3 migrations found in prisma/migrations\n\n\nNo pending migrations to apply.",
			"goose":                   "2026/01/02 03:04:05 goose: no migrations to run. current version: 42",
			"knex":                    "Using environment: production\nAlready up to date",
			"EF Core":                 "No migrations were applied. The database is already up to date.\nDone.",
			"Django":                  "Running migrations:\n  No migrations to apply.",
			"a migrator":              "no change",
			"Alembic":                 "INFO  [alembic.runtime.migration] Context impl PostgresqlImpl.\nINFO  [alembic.runtime.migration] Will assume transactional DDL.",
			"Alembic, another format": "INFO: Context impl SQLiteImpl.\nINFO: Will assume non-transactional DDL.\n\n",
		},
		MaybeMigrated: {
			"git is no migrator":                    "Already up to date.",
			"Alembic, and whatever else":            "INFO  [alembic.runtime.migration] Will assume transactional DDL.\nbackfilling the new column",
			"Alembic, and what a script of it does": "INFO  [alembic.runtime.migration] Will assume transactional DDL.\nINFO  [alembic.env] dropping the old table",
			"sqlx and Rails say nothing":            "\n  \n",
		},
	} {
		for name, log := range logs {
			r, err := NewMigrationReader(Patterns{})
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(log, "\n") {
				r.Line(line)
			}
			if got := r.Answer(true); got != want {
				t.Errorf("%s: migrated: %s, want %s", name, got, want)
			}
		}
	}
}

func TestMigrationReaderWantsEachContainerToSayThatItDidNothing(t *testing.T) {
	const flyway, alembic = `Schema "public" is up to date. No migration necessary.`, "INFO  [alembic.runtime.migration] Will assume transactional DDL."
	for name, tt := range map[string]struct {
		lines [][2]string // container and line
		want  Migration
	}{
		"one container":                {[][2]string{{"a", "starting"}, {"a", flyway}}, DidNotMigrate},
		"two that say so":              {[][2]string{{"a", flyway}, {"b", alembic}}, DidNotMigrate},
		"one that says something else": {[][2]string{{"a", flyway}, {"b", "rebuilding the views"}}, MaybeMigrated},
		"one that writes nothing":      {[][2]string{{"a", flyway}, {"b", "  "}}, DidNotMigrate},
		"Alembic beside another":       {[][2]string{{"a", alembic}, {"b", "waiting for the database"}, {"b", flyway}}, DidNotMigrate},
		"one that migrates":            {[][2]string{{"a", flyway}, {"b", "  Applying app.0042_drop... OK"}}, DidMigrate},
	} {
		r, err := NewMigrationReader(Patterns{})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range tt.lines {
			r.LineOf(l[0], l[1])
		}
		if got := r.Answer(true); got != tt.want {
			t.Errorf("%s: migrated: %s, want %s", name, got, tt.want)
		}
	}
}

func TestOperationMigratedCountsWhatATaskWasSeenToMigrate(t *testing.T) {
	step := func(do Do, m Migration) StepRun {
		return StepRun{Mark: MarkStarted, Migrated: &m, Step: Step{Do: do, Job: &JobRun{NoMigration: true}}}
	}
	for name, tt := range map[string]struct {
		kind  Kind
		steps []StepRun
		want  Migration
	}{
		"a task's job that migrated":          {RunTask, []StepRun{step(StartJob, DidMigrate)}, DidMigrate},
		"a task's command that migrated":      {RunTask, []StepRun{step(RunCommand, DidMigrate)}, DidMigrate},
		"a task of which nothing is seen":     {RunTask, []StepRun{{Mark: MarkStarted, Step: Step{Do: StartJob, Job: &JobRun{}}}}, DidNotMigrate},
		"a deploy's of which nothing is seen": {Deploy, []StepRun{{Mark: MarkStarted, Step: Step{Do: StartJob, Job: &JobRun{}}}}, MaybeMigrated},
		"a deploy's that never began":         {Deploy, []StepRun{{Step: Step{Do: StartJob, Job: &JobRun{}}}}, DidNotMigrate},
	} {
		if got := (Operation{Kind: tt.kind, Steps: tt.steps}).Migrated(); got != tt.want {
			t.Errorf("%s: migrated: %s, want %s", name, got, tt.want)
		}
	}
}

func TestNewMigrationReaderRefusesABadPattern(t *testing.T) {
	for _, p := range []Patterns{{Migrated: []string{"("}}, {Nothing: []string{"("}}} {
		if _, err := NewMigrationReader(p); err == nil || !strings.Contains(err.Error(), `pattern "("`) {
			t.Errorf("%v: %v", p, err)
		}
	}
}
