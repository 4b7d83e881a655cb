// Package edgedpb is the generated code of api/client.proto and api/manager.proto: the messages of the two protocols and
// the gRPC service that a Manager serves. Any language's generator makes an equal of it from the same files.
//
// The gateway itself and the Go kit for Managers write and read the same bytes by hand, in package batch; there this
// package is the yardstick of the tests. Clients use it for Hello and Message.
//
// Everything but this file is written by api/generate.sh. Do not edit it.
package edgedpb
