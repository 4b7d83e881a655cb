package client

import (
	"crypto/tls"
	"net/http"
)

// TrustForTest lets the HTTP client that a Directory made for itself trust a test's certificate.
func TrustForTest(d *Directory, c *tls.Config) {
	d.http.Transport.(*http.Transport).TLSClientConfig = c
}
