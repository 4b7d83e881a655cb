// Package admin holds the windows of a running daemon: the control socket that
// `edged ctl` speaks to, /metrics for Prometheus, /healthz and /readyz for
// whoever supervises the box.
//
// Every number comes through a Source, which the composition root implements.
// The package never learns how a number is made; it only asks, and it trusts
// the answer in nothing: a Source that panics or hangs costs one request an
// error and never the process, and however many ask meanwhile, one goroutine
// waits for it (see shared).
//
// Who may ask what:
//
//	                      unix socket   TCP, loopback peer   TCP, other peer
//	/healthz, /readyz     all           all                  all
//	/metrics              all           all                  token
//	everything else       all           token                token
//
// Where the Source has People, a daemon with links, there is more: POST /v1/push,
// GET /v1/users, /v1/users/USER, and /v1/presence, a stream of a JSON line for each
// device that comes or goes, with an empty line now and then as a sign of life.
// An order that was given is carried out whether its client waits or not.
//
// A Unix socket is guarded by its file mode, 0660. A TCP address that is not
// loopback must be given a token. For a loopback one without a token, New
// makes a random one and leaves it in the file admin.token beside the first
// Unix socket; without a Unix socket only the open paths are served there.
//
// A Server owns its listeners, the files of its sockets and the token file that
// it wrote. It removes a file only while that still is the one it made, so that
// a successor that has taken the path over keeps it.
package admin
