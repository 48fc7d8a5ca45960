// Package all lists the drivers that the program is built with. It exists so that nothing registers itself: who wants the
// drivers asks for them.
package all

import (
	"salvor/drivers"
	"salvor/drivers/command"
	"salvor/drivers/filesystem"
	"salvor/drivers/media"
	"salvor/drivers/mysql"
	"salvor/drivers/postgres"
	"salvor/drivers/sqlite"
)

// Registry returns a new registry that holds every driver.
func Registry() *drivers.Registry {
	r := &drivers.Registry{}
	r.Register(command.Kind())
	r.Register(filesystem.Kind())
	r.Register(media.Kind())
	r.Register(mysql.Kind())
	r.Register(postgres.Kind())
	r.Register(sqlite.Kind())
	return r
}
