// Package etc holds the configuration files that are installed, for what writes one. The files beside it are the originals.
package etc

import _ "embed" // for Gateway

// Gateway is edged.toml: every setting of a gateway with its default and a comment.
//
//go:embed edged.toml
var Gateway string
