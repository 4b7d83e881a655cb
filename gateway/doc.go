// Package gateway is the product: one shard per reactor, which owns its links, their deadlines, their sessions and their
// way to the Managers. It binds the packages below it and holds no algorithm of its own.
package gateway
