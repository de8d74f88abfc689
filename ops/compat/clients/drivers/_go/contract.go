// Package contract is what the Go drivers share: the runner's JSON in, a line a scenario out, and what the scenarios do.
package contract

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Input is what the runner tells a driver.
type Input struct {
	Endpoint        string   `json:"endpoint"`
	Scheme          string   `json:"scheme"`
	Region          string   `json:"region"`
	Addressing      string   `json:"addressing"`
	AccessKey       string   `json:"access_key"`
	SecretKey       string   `json:"secret_key"`
	CA              string   `json:"ca"`
	Bucket          string   `json:"bucket"`
	VersionedBucket string   `json:"versioned_bucket"`
	Prefix          string   `json:"prefix"`
	Files           string   `json:"files"`
	Work            string   `json:"work"`
	Scenarios       []string `json:"scenarios"`
	CannotName      []string `json:"cannot_name"`
}

// Body reads one of the runner's files, which are named by their sizes.
func (in Input) Body(size int) ([]byte, error) {
	return os.ReadFile(in.BodyPath(size))
}

// BodyPath is where the body of a size lies.
func (in Input) BodyPath(size int) string {
	return filepath.Join(in.Files, strconv.Itoa(size))
}

// Transport is Go's own transport that trusts the runner's CA too.
func (in Input) Transport() (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if in.CA != "" {
		pem, err := os.ReadFile(in.CA)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", in.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return transport, nil
}

// plainHTTP uses a URL as somebody without any S3 client does.
func (in Input) plainHTTP(method, url string, body []byte) ([]byte, error) {
	transport, err := in.Transport()
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s by its URL: %s: %s", method, answer.Status, got)
	}
	return got, err
}

// Absent says what a client lacks; it ends a scenario as "absent".
type Absent string

func (a Absent) Error() string { return string(a) }

type line struct {
	Scenario string  `json:"scenario"`
	Result   string  `json:"result"`
	Detail   string  `json:"detail"`
	Seconds  float64 `json:"seconds"`
}

// Main runs the scenarios that the runner asks for and says how each went.
func Main(connect func(Input) (Client, error)) {
	if err := run(connect); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(connect func(Input) (Client, error)) error {
	var in Input
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		return fmt.Errorf("the runner's JSON: %w", err)
	}
	client, err := connect(in)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, name := range in.Scenarios {
		started := time.Now()
		said := line{Scenario: name, Result: "pass"}
		scenario, known := scenarios[name]
		if !known {
			return fmt.Errorf("the scenario %q is not known to this driver", name)
		}
		failed := scenario(driver{in, client})
		var absent Absent
		if errors.As(failed, &absent) {
			said.Result, said.Detail = "absent", string(absent)
		} else if failed != nil {
			said.Result, said.Detail = "fail", failed.Error()
		}
		said.Seconds = time.Since(started).Seconds()
		if err := out.Encode(said); err != nil {
			return err
		}
	}
	return nil
}
