package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"edged/admin"
	"edged/config"
)

// ctlTimeout bounds one question to a running gateway.
const ctlTimeout = 5 * time.Second

func ctlCommand() *cobra.Command {
	var w window
	c := &cobra.Command{
		Use:   "ctl",
		Short: "Control a running gateway",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	flags := c.PersistentFlags()
	flags.StringVar(&w.socket, "socket", "", "the gateway's admin `address`, instead of that in the file: a path or host:port; EDGED_TOKEN holds the token of the latter")
	flags.StringVar(&w.config, "config", defaultConfig, "configuration `file` of the gateway, whose [admin] says where to ask it")
	c.AddCommand(ctlStatus(&w), ctlDrain(&w), ctlReload(&w), ctlPush(&w), ctlUsers(&w))
	return c
}

// window is where a running gateway is asked: by the command line or, without socket, by its file.
type window struct{ socket, config string }

func (w *window) dial() (*admin.Client, error) {
	if w.socket != "" {
		return dialAdmin(w.socket)
	}
	c, err := config.AdminAt(w.config)
	local, remote := split(c.Listen)
	switch {
	case w.config == defaultConfig:
		// Only root and the service's group can read it, and what was changed in it may not be in force yet.
		local = append(local, admin.Default().Listen...)
	case err != nil:
		return nil, err
	case len(c.Listen) == 0:
		return nil, fmt.Errorf("%s has no address in [admin] listen", w.config)
	}
	address := listening(append(local, remote...))
	return admin.Dial(address, tokenFor(address, c))
}

// split has the Unix sockets apart from addresses of TCP, which need a token.
func split(listen []string) (local, remote []string) {
	for _, address := range listen {
		if isLocal(address) {
			local = append(local, address)
		} else {
			remote = append(remote, address)
		}
	}
	return local, remote
}

func isLocal(address string) bool { return strings.HasPrefix(address, "unix:") }

// listening is the first address where somebody listens, else the first. Those of TCP, which come last, are not tried.
func listening(addresses []string) string {
	for _, address := range addresses {
		if !isLocal(address) {
			return address
		}
		conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix:"))
		if err == nil {
			_ = conn.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return address // one that may not be opened is there, too
		}
	}
	return addresses[0]
}

// tokenFor is what an address of the file wants to be shown.
func tokenFor(address string, c admin.Config) string {
	token := os.Getenv("EDGED_TOKEN")
	switch {
	case token != "" || isLocal(address):
		return token
	case c.TokenFile == "":
		return c.Token
	}
	text, _ := os.ReadFile(c.TokenFile) // without it the gateway says what is missing
	return strings.TrimSpace(string(text))
}

func dialAdmin(socket string) (*admin.Client, error) {
	if strings.HasPrefix(socket, "/") || strings.HasPrefix(socket, "./") {
		socket = "unix:" + socket
	}
	return admin.Dial(socket, os.Getenv("EDGED_TOKEN"))
}

func ctlStatus(w *window) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how the gateway is",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := w.dial()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), ctlTimeout)
			defer cancel()
			status, err := client.Status(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(status)
			}
			return admin.WriteStatus(c.OutOrStdout(), status)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
