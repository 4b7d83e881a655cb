package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxBody bounds the body of a request that does not carry a message.
const maxBody = 64 << 10

// readBody reads the whole body, and refuses the request where that is too long or does not come.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", long.Limit))
	case err != nil:
		refuse(w, http.StatusBadRequest, err.Error())
	}
	return body, err == nil
}

// jsonError turns what encoding/json says into a sentence for a person; takes tells which fields there are.
func jsonError(err error, takes string) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the body is not JSON")
	case errors.As(err, &kind) && kind.Field != "":
		article := "a"
		if kind.Value == "array" || kind.Value == "object" {
			article = "an"
		}
		return fmt.Errorf("%s: %s %s does not fit there", kind.Field, article, kind.Value)
	case errors.As(err, &kind):
		return errors.New("the body is not a JSON object")
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("unknown field %s: %s", field, takes)
	}
	return err
}
