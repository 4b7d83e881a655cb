package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"edged/admin"
)

// pushFlags is what the command line of a push says.
type pushFlags struct {
	user, device, room, link string
	everyone                 bool
	text, file               string
}

func ctlPush(w *window) *cobra.Command {
	var f pushFlags
	var r admin.PushRequest
	var asJSON bool
	c := &cobra.Command{
		Use:   "push {--user USER | --device USER/DEVICE | --room ROOM | --everyone | --link ID} [--text TEXT | --file FILE]",
		Short: "Push a message to a user, a device, a room, a link or everyone",
		Long: `Push a message to a user, a device, a room, a link or everyone, wherever in the fleet they are.

The message is TEXT, or what FILE holds, or what comes by standard input. Nothing is stored: who is not online does not get it.
A push that requires an acknowledgement is repeated until it has one, and its outcome is told to the Manager of each link.`,
		Args: func(c *cobra.Command, args []string) (err error) { // before anything else, so that it counts as wrong use
			if r.To, err = f.target(c); err != nil {
				return err
			}
			if c.Flags().Changed("text") && c.Flags().Changed("file") {
				return errors.New("--text and --file exclude each other")
			}
			if err := r.Validate(); err != nil {
				return err
			}
			return cobra.NoArgs(c, args)
		},
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if r.Payload, err = f.payload(c); err != nil {
				return err
			}
			done, err := ask(c, w, func(ctx context.Context, a *admin.Client) (admin.Pushed, error) { return a.Push(ctx, r) })
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(done)
			}
			return admin.WritePushed(c.OutOrStdout(), r.To, done)
		},
	}
	l := c.Flags()
	l.StringVar(&f.user, "user", "", "to all devices of this `user`")
	l.StringVar(&f.device, "device", "", "to one device, `USER/DEVICE`")
	l.StringVar(&f.room, "room", "", "to all links in this `room`")
	l.BoolVar(&f.everyone, "everyone", false, "to all links of all gateways")
	l.StringVar(&f.link, "link", "", "to one link, by its `ID` IP:port:index:uniq")
	l.StringVar(&f.text, "text", "", "the message")
	l.StringVar(&f.file, "file", "", "a `file` that holds it")
	l.StringVar(&r.Ack, "ack", "", "acknowledgement that is asked for: none, required or sampled")
	l.StringVar(&r.MsgID, "msg-id", "", "`name` of the message; one that requires an acknowledgement and has none gets one")
	l.BoolVar(&r.Gzip, "gzip", false, "it may be sent compressed")
	l.DurationVar(&r.TTL, "ttl", 0, "how long it is worth repeating; 0: the gateway's setting")
	l.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// target is the one that was named.
func (f *pushFlags) target(c *cobra.Command) (admin.Target, error) {
	var named []string
	for _, t := range []struct{ flag, to string }{
		{"user", "user:" + f.user}, {"device", "device:" + f.device}, {"room", "room:" + f.room}, {"link", "link:" + f.link},
	} {
		if c.Flags().Changed(t.flag) {
			named = append(named, t.to)
		}
	}
	if f.everyone {
		named = append(named, string(admin.ToEveryone))
	}
	if len(named) != 1 {
		return admin.Target{}, errors.New("a push needs one of --user, --device, --room, --everyone and --link")
	}
	t, err := admin.ParseTarget(named[0])
	if err != nil {
		return t, errors.New(strings.TrimPrefix(err.Error(), "to: "))
	}
	return t, nil
}

// payload is the message. Of one that is too long it reads a byte more than is allowed.
func (f *pushFlags) payload(c *cobra.Command) ([]byte, error) {
	if c.Flags().Changed("text") {
		return []byte(f.text), nil
	}
	from := c.InOrStdin()
	if f.file != "" {
		file, err := os.Open(f.file)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		from = file
	}
	b, err := io.ReadAll(io.LimitReader(from, admin.MaxPayload+1))
	if err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	return b, nil
}
