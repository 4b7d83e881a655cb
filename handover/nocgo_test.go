//go:build !cgo

package handover_test

const withCgo = false
