// Accepts requests with the right bearer token, passes the user's name to the next handler, and redacts a field in JSON
// responses. The configuration is one line: the token, the user, and the name of the field.
package main

import (
	"crypto/subtle"
	"regexp"
	"strings"
)

const maxBody = 1 << 20

var (
	token, user string
	field       *regexp.Regexp
)

// In a library, main is never called: put initialisation into init.
func main() {}

func init() {
	words := strings.Fields(string(config()))
	if len(words) != 3 {
		// Fail rather than let everything pass.
		panic("the configuration must be: TOKEN USER FIELD")
	}
	token, user = words[0], words[1]
	field = regexp.MustCompile(`("` + regexp.QuoteMeta(words[2]) + `"\s*:\s*")(?:[^"\\]|\\.)*`)
	// Required for changing the response.
	enableFeatures(bufferResponse)
}

//go:wasmexport handle_request
func handleRequest() uint64 {
	authorization, _ := header(request, "authorization")
	if subtle.ConstantTimeCompare([]byte(authorization), []byte("Bearer "+token)) != 1 {
		log(warn, "denied")
		setStatusCode(401)
		setHeader(response, "www-authenticate", "Bearer")
		writeBody(response, []byte("unauthorized\n"))
		return stop()
	}
	removeHeader(request, "authorization")
	setHeader(request, "x-user", user)
	return next(0)
}

//go:wasmexport handle_response
func handleResponse(reqCtx, isError uint32) {
	contentType, _ := header(response, "content-type")
	if isError != 0 || !strings.HasPrefix(contentType, "application/json") {
		return
	}
	content, ok := body(response, maxBody)
	if !ok {
		panic("the response is too long to be redacted")
	}
	if field.Match(content) {
		writeBody(response, field.ReplaceAll(content, []byte("${1}***")))
	}
}
