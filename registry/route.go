package registry

import (
	"errors"
	"strconv"
	"strings"
)

// Route is where one device of a user is, by Redis.
type Route struct {
	Device  string
	Gateway string // its ID
	Epoch   uint64 // of the gateway's process; an upgrade keeps it
	Link    string // its ID there, IP:port:index:uniq
}

// maxRoute bounds the value in Redis, in bytes: an ID, an epoch and a link ID.
const maxRoute = 1024

var errNoRoute = errors.New("not <gateway> <epoch> <link ID>")

// ParseRoute reads a value of edged:route:{user}, which does not hold the device.
func ParseRoute(value string) (Route, error) {
	if len(value) > maxRoute {
		return Route{}, errNoRoute
	}
	gateway, rest, _ := strings.Cut(value, " ")
	number, link, _ := strings.Cut(rest, " ")
	epoch, err := strconv.ParseUint(number, 10, 64)
	if err != nil || gateway == "" || link == "" || strings.Contains(link, " ") || strconv.FormatUint(epoch, 10) != number {
		return Route{}, errNoRoute
	}
	return Route{Gateway: gateway, Epoch: epoch, Link: link}, nil
}

// prefix is what the routes of one gateway's process begin with.
func prefix(gateway string, epoch uint64) string {
	return gateway + " " + strconv.FormatUint(epoch, 10) + " "
}

// uniq is the last part of the link ID; 0 where that is none of ours.
func (r Route) uniq() uint32 {
	n, _ := strconv.ParseUint(r.Link[strings.LastIndexByte(r.Link, ':')+1:], 10, 32)
	return uint32(n)
}

// epochOf is the epoch of a route as it is written.
func epochOf(value string) string {
	_, rest, _ := strings.Cut(value, " ")
	epoch, _, _ := strings.Cut(rest, " ")
	return epoch
}
