package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"salvor/drivers"
)

// The kinds of entries of globals.
const (
	entryRole    = "role"
	entryAccount = "user"
	entryGrant   = "grant"
)

// isServersAccount tells whether an account belongs to the server.
func isServersAccount(user string) bool {
	switch user {
	case "mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", "PUBLIC":
		return true
	}
	return false
}

// account is a user or, of MariaDB, a role.
type account struct {
	user, host string
	role       bool
}

// name is the account as SQL takes it.
func (a account) name() string {
	if a.role {
		return ident(a.user)
	}
	return literal(a.user) + "@" + literal(a.host)
}

func (c *conn) accounts(ctx context.Context) ([]account, error) {
	list, err := c.rows(ctx, c.server.accountsSQL())
	if isCode(err, codeTableDenied, codeColumnDenied, codeDatabaseDenied) {
		return nil, drivers.WithHint(fmt.Errorf("list accounts: %w", classify(err)), "GRANT SELECT ON mysql.* TO the account, or leave globals out")
	}
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", classify(err))
	}
	var all []account
	for _, r := range list {
		if !isServersAccount(r[0]) {
			all = append(all, account{user: r[0], host: r[1], role: r[2] == "Y"})
		}
	}
	return all, nil
}

// collectGlobals reads the accounts of the server and their rights, roles first. unknown are accounts that its table lists and the
// server itself does not know: those of host names, where it asks for none.
func collectGlobals(ctx context.Context, c *conn) (data []byte, unknown []string, err error) {
	all, err := c.accounts(ctx)
	if err != nil {
		return nil, nil, err
	}
	var made, grants []*entry
	for _, a := range all {
		e := &entry{Kind: entryAccount, Name: a.name()}
		if a.role {
			e.Kind, e.sql = entryRole, "CREATE ROLE "+a.name()
		} else if e.sql, err = c.text(ctx, "SHOW CREATE USER "+a.name()); err != nil {
			if isCode(err, codeNoAccount) {
				unknown = append(unknown, e.Name)
				continue
			}
			return nil, nil, globalsError(e, err)
		}
		var roles string
		if e.sql, roles, err = cutDefaultRole(e.sql); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", e.label(), err)
		}
		made = append(made, e)
		list, err := c.rows(ctx, "SHOW GRANTS FOR "+a.name())
		if err != nil {
			return nil, nil, globalsError(e, err)
		}
		for _, r := range list {
			if !strings.HasSuffix(r[0], " TO PUBLIC") {
				grants = append(grants, &entry{Kind: entryGrant, Name: a.name(), sql: r[0]})
			}
		}
		if roles != "" {
			grants = append(grants, &entry{Kind: entryGrant, Name: a.name(), sql: "SET DEFAULT ROLE " + roles + " TO " + a.name()})
		}
	}
	data, err = writeEntries(append(made, grants...))
	return data, unknown, err
}

// cutDefaultRole takes DEFAULT ROLE … out of what MySQL says of an account: there an account that is not made yet may be the role, and it
// can be set only once it was granted. MariaDB says it among the rights.
func cutDefaultRole(sql string) (without, roles string, err error) {
	list, err := tokens(sql)
	if err != nil {
		return sql, "", err
	}
	for i := 0; i+2 < len(list); i++ {
		if list[i].kind != tokenWord || list[i+1].kind != tokenWord || !strings.EqualFold(sql[list[i].from:list[i].to], "DEFAULT") || !strings.EqualFold(sql[list[i+1].from:list[i+1].to], "ROLE") {
			continue
		}
		end := i + 2
		for end+1 < len(list) && list[end+1].kind == tokenSymbol && strings.ContainsRune("@,", rune(sql[list[end+1].from])) && end+2 < len(list) {
			end += 2
		}
		roles = sql[list[i+2].from:list[end].to]
		return sql[:list[i].from] + strings.TrimLeft(sql[list[end].to:], " "), roles, nil
	}
	return sql, "", nil
}

func globalsError(e *entry, err error) error {
	err = fmt.Errorf("read %s: %w", e.label(), classify(err))
	if errors.Is(err, drivers.ErrAccess) {
		return drivers.WithHint(err, "GRANT SELECT ON mysql.* TO the account, or leave globals out")
	}
	return err
}

// makeAccounts makes the accounts of the dump that the server lacks. What is there already stays as it is, its password and
// rights included: it belongs to all databases of the server. What was there is noted first, for an attempt that goes on with
// what another has begun.
func (w *work) makeAccounts(ctx context.Context, list []*entry) error {
	err := w.once(ctx, "globals/there", "", func() error {
		all, err := w.accounts(ctx)
		if err != nil {
			return err
		}
		for _, a := range all {
			if err := w.exec(ctx, "INSERT INTO "+progressAccount+" VALUES ("+literal(a.name())+")"); err != nil {
				return fmt.Errorf("note accounts: %w", classify(err))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	old, err := w.oldAccounts(ctx)
	if err != nil {
		return err
	}
	for _, e := range ofKinds(list, entryRole, entryAccount) {
		if !old[e.Name] {
			if err := w.define(ctx, e, codeUserExists); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *work) oldAccounts(ctx context.Context) (map[string]bool, error) {
	list, err := w.rows(ctx, "SELECT name FROM "+progressAccount)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", classify(err))
	}
	old := make(map[string]bool, len(list))
	for _, r := range list {
		old[r[0]] = true
	}
	return old, nil
}

// makeGrants gives the accounts that the restore made their rights, when all that they are on is there.
func (w *work) makeGrants(ctx context.Context, list []*entry) error {
	if list == nil {
		return nil
	}
	old, err := w.oldAccounts(ctx)
	if err != nil {
		return err
	}
	for i, e := range ofKinds(list, entryGrant) {
		if old[e.Name] {
			continue
		}
		numbered := *e
		numbered.Name = fmt.Sprintf("%d to %s", i+1, e.Name)
		if err := w.define(ctx, &numbered); err != nil {
			return err
		}
	}
	return nil
}
