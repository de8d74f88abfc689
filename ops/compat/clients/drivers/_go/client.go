package contract

import (
	"fmt"
	"io"
)

// Client is one S3 client, each call made as its own documentation does and with its own defaults.
type Client interface {
	// Put stores a body in one request and tells the ETag and the version.
	Put(bucket, key string, put Put) (Stored, error)
	// Get reads an object; a nil range is all of it, an empty version the current one.
	Get(bucket, key, version string, part *Range) (Object, error)
	Head(bucket, key string) (Object, error)
	// Delete of a version removes it, without one it may leave a marker, whose version it tells.
	Delete(bucket, key, version string) error
	DeleteMany(bucket string, keys []string) error
	List(bucket, prefix, delimiter string) (Listing, error)
	ListVersions(bucket, prefix string) ([]Version, error)

	// Upload and Download are the client's ways for files of any size.
	Upload(bucket, key, path string) error
	Download(bucket, key, path string) error
	// UploadStream stores what can neither be measured nor read twice.
	UploadStream(bucket, key string, stream io.Reader) error
	Copy(bucket, source, target string) error
	// CopyLarge is the client's way for objects beyond one copy request, or Copy.
	CopyLarge(bucket, source, target string) error

	SetTags(bucket, key string, tags map[string]string) error
	Tags(bucket, key string) (map[string]string, error)
	RemoveTags(bucket, key string) error

	PresignGet(bucket, key string) (string, error)
	PresignPut(bucket, key string) (string, error)

	// StartUpload begins an upload of parts with one part and tells its id.
	StartUpload(bucket, key string, part []byte) (string, error)
	AbortUpload(bucket, key, id string) error
	// Uploads lists the ids of the uploads below a prefix.
	Uploads(bucket, prefix string) ([]string, error)

	// NotFound and Refused: the error is S3's 404, or its 412.
	NotFound(error) bool
	Refused(error) bool
	// Checksums names the algorithms that can be asked for at a put: "CRC32C", "SHA256".
	Checksums() []string
}

// Put is a body and what is said of it.
type Put struct {
	Body                                                           []byte
	ContentType, CacheControl, ContentDisposition, ContentEncoding string
	Metadata, Tags                                                 map[string]string
	// IfAbsent asks not to replace.
	IfAbsent bool
	// Checksum is an algorithm, or empty for the client's default.
	Checksum string
}

// Stored is what a put is answered with.
type Stored struct{ ETag, Version string }

// Object is what a read tells, its user metadata in the client's own case.
type Object struct {
	Body                                                                 []byte
	Size                                                                 int64
	ETag, ContentType, CacheControl, ContentDisposition, ContentEncoding string
	Metadata                                                             map[string]string
}

// Range is of bytes: First to Last, both included; Last -1 is open; First -1 is the last Last bytes.
type Range struct{ First, Last int64 }

// Header is the range as HTTP writes it.
func (r Range) Header() string {
	switch {
	case r.First < 0:
		return fmt.Sprintf("bytes=-%d", r.Last)
	case r.Last < 0:
		return fmt.Sprintf("bytes=%d-", r.First)
	}
	return fmt.Sprintf("bytes=%d-%d", r.First, r.Last)
}

// Entry is a listed key.
type Entry struct {
	Key  string
	Size int64
}

// Listing is all pages of a list, in the order of the answers.
type Listing struct {
	Entries  []Entry
	Prefixes []string
}

// Version is one of a key's, newest first.
type Version struct {
	Key, ID string
	Latest  bool
	Marker  bool
}
