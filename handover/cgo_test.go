//go:build cgo

package handover_test

// withCgo says that not all threads can be changed at once; the product is built without.
const withCgo = true
