package h2

import (
	"fmt"
	"net/http"
	"strconv"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lost is the status of a connection that cannot be made or goes no further. The words are those of other gRPC clients, for whoever
// looks for them in a log.
func lost(text string) error { return status.Error(codes.Unavailable, lostText(text)) }

func lostText(text string) string { return fmt.Sprintf("connection error: desc = %q", text) }

// ofReset is gRPC's code for HTTP/2's (gRPC over HTTP/2, section Errors).
func ofReset(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeEnhanceYourCalm, http2.ErrCodeFlowControl:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	}
	if code <= http2.ErrCodeHTTP11Required {
		return codes.Internal
	}
	return codes.Unknown
}

// ofHTTP is gRPC's code for the status of an answer that is not gRPC's (gRPC's http-grpc-status-mapping).
func ofHTTP(text string) codes.Code {
	code, err := strconv.Atoi(text)
	if err != nil {
		return codes.Internal
	}
	switch code {
	case http.StatusBadRequest:
		return codes.Internal
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.Unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return codes.Unavailable
	}
	return codes.Unknown
}
