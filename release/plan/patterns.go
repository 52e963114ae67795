package plan

import "regexp"

// DefaultPatterns gives the words of the usual tools. Rails and sqlx say nothing when they do nothing, so their silence
// counts as a migration: let such a job print a line of its own, and set the pattern for it. The words for a migration
// are many on purpose: they only ever turn a "no" into a "yes".
func DefaultPatterns() Patterns {
	return Patterns{
		Migrated: []string{
			// Flyway, org.flywaydb.core.internal.command.DbMigrate. The second is written before each migration, and
			// so also by a run that fails half way. A callback is SQL that runs although there is no migration.
			`Successfully applied [1-9][0-9,.]* migrations?\b`,
			`Migrating schema .+ (to version|with repeatable migration) `,
			`\bUndo[a-z]+ migration of schema `,
			`Successfully (cleaned|dropped|baselined) schema`,
			`Executing (SQL )?callback: (createSchema|(before|after)(Each)?(Migrate|Repeatables|Versioned))`,
			`Executing (SQL )?callback: (before|after)(Each)?(Clean|Undo|Repair|Baseline)`,
			// Liquibase, liquibase.changelog.visitor and its summary of an update.
			`\b(Running|Rolling Back) Changeset: `,
			`\bChange ?[Ss]et .+ ran successfully`,
			`\bRows affected: [1-9]`,
			`\bRun:\s+[1-9][0-9]*\s*$`,
			// Django, django/core/management/commands/migrate.py. A line ends in OK or FAKED, or in neither if it fails.
			// A table is created by --run-syncdb.
			`\b(Applying|Unapplying) \S+\.\S+\.\.\.`,
			`^\s*Creating table \S`,
			// Alembic, alembic/runtime/migration.py. In JSON the arrow may be escaped.
			`\bRunning (upgrade|downgrade|stamp_revision) .*-(>|\\u003[eE]|&gt;)`,
			// Rails, activerecord/lib/active_record/migration.rb, and Sequelize, which writes as Rails does. The other is of
			// a schema that is loaded as a whole.
			`== .*: (migrating|migrated|reverting|reverted) .*==`,
			`(^|\s)-- (create|drop|add|remove|change|rename|execute|enable|disable)(_[a-z_]+)?\(`,
			// Prisma (migrate deploy, db push, migrate reset) and EF Core.
			"\\b(Applying|Reverting) migration ([`'\"]\\S|\\d)",
			`following migration(s|\(s\))? (have|has) been applied`,
			`database is now in sync with your (Prisma )?schema`,
			`\bDatabase reset successful`,
			// golang-migrate: version, direction and name.
			`(^|\s)[0-9]+/[ud] \S+`,
			// goose.
			`\b(OK|EMPTY|FAIL)\s+\S*[0-9]+\S*\.(sql|go)\b`,
			`goose: successfully migrated `,
			// knex.
			`\bBatch [0-9]+ (run|rolled back): [1-9][0-9]* migrations?`,
			// sqlx.
			`\bApplied [0-9]+/(migrate|revert) `,
			// Atlas, dbmate, node-pg-migrate, Diesel, Ecto, Laravel and TypeORM.
			`\bMigrating to version \S`,
			`^(Applying|Rolling back): \S+\.sql`,
			`### MIGRATION .+ \((UP|DOWN)\) ###`,
			`\b(Running|Rolling back) migration [0-9]{4}`,
			`== (Running|Migrated) [0-9]{4,} `,
			`\b(Migrating|Migrated|Rolling back|Rolled back):?\s+[0-9]{4}_[0-9_]+`,
			`\b[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]{6}_\S+ \.{2,}.* (DONE|FAIL)\b`,
			`\bMigration \S+ has been (executed|reverted) successfully`,
		},
		Nothing: []string{
			`\bNo migration necessary\.`,                                 // Flyway
			`\bDatabase is up to date, no changesets to execute`,         // Liquibase
			`^\s*No migrations to apply\.`,                               // Django
			`\bNo pending migrations to apply\.`,                         // Prisma
			`^no change$`,                                                // golang-migrate
			`goose: no migrations to run`,                                // goose
			`^Already up to date$`,                                       // knex
			`\bNo migrations were applied\. The database is already up`,  // EF Core
			`\bNothing to migrate\.`,                                     // Laravel
			`\bNo migrations are pending`,                                // TypeORM
			`\bNo migrations were executed, database schema was already`, // Sequelize
			`\bNo migration files to execute`,                            // Atlas
		},
	}
}

// Alembic greets, and says nothing more, at the same level, if there is nothing to do. That counts only where nothing
// but Alembic wrote: whatever else a container does after the greeting is not Alembic's to speak for.
var (
	alembicGreeting = regexp.MustCompile(`\bWill assume (non-)?transactional DDL\.`)
	alembicLine     = regexp.MustCompile(`\b(Will assume (non-)?transactional DDL|Context impl \w+|alembic\.runtime)\.`)
)
