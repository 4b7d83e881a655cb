package main

import "log/slog"

// quiet is a log that says nothing: what fails shows in the result.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
