package wire

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// ErrLinkID means that a string is no link ID.
var ErrLinkID = errors.New("malformed link ID")

// AppendLinkID appends a link ID (section 1.3): the gateway's advertised address
// as IP:port, an IPv6 address in brackets, then the link's place in the pool and
// the use count of that place.
func AppendLinkID(dst []byte, address string, index, uniq uint32) []byte {
	dst = append(dst, address...)
	dst = append(dst, ':')
	dst = strconv.AppendUint(dst, uint64(index), 10)
	dst = append(dst, ':')
	return strconv.AppendUint(dst, uint64(uniq), 10)
}

// ParseLinkID takes a link ID apart; address is a part of s. It accepts only
// what AppendLinkID writes for an address of IP:port, so that two different
// strings never name one link of an address. An address with a zone is refused:
// it means nothing outside of its box.
func ParseLinkID(s string) (address string, index, uniq uint32, err error) {
	rest, uniq, ok := cutNumber(s)
	if !ok {
		return "", 0, 0, ErrLinkID
	}
	address, index, ok = cutNumber(rest)
	if !ok || strings.IndexByte(address, '%') >= 0 {
		return "", 0, 0, ErrLinkID
	}
	if _, err := netip.ParseAddrPort(address); err != nil {
		return "", 0, 0, ErrLinkID
	}
	return address, index, uniq, nil
}

// cutNumber cuts the number behind the last colon off s. The number must be
// written the one way in which AppendUint writes it: no sign, no leading zero.
func cutNumber(s string) (before string, v uint32, ok bool) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return "", 0, false
	}
	digits := s[colon+1:]
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || (digits[0] == '0' && len(digits) > 1) {
		return "", 0, false
	}
	return s[:colon], uint32(n), true
}
