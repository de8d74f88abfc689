// minio-go: its high-level calls, and its Core for an upload that is aborted.
package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/tags"

	"sealgate/contract"
)

func main() { contract.Main(connect) }

var ctx = context.Background()

type client struct {
	*minio.Client
	// trailing is what minio-go wants to be for a checksum that is asked for.
	trailing *minio.Client
}

// connect gives no region: minio-go then asks for the bucket's.
func connect(in contract.Input) (contract.Client, error) {
	endpoint, err := url.Parse(in.Endpoint)
	if err != nil {
		return nil, err
	}
	options := &minio.Options{
		Creds:  credentials.NewStaticV4(in.AccessKey, in.SecretKey, ""),
		Secure: in.Scheme == "https",
	}
	if in.Addressing == "virtual" {
		options.BucketLookup = minio.BucketLookupDNS
	}
	if in.CA != "" {
		if options.Transport, err = in.Transport(); err != nil {
			return nil, err
		}
	}
	made, err := minio.New(endpoint.Host, options)
	if err != nil {
		return nil, err
	}
	with := *options
	with.TrailingHeaders = true
	trailing, err := minio.New(endpoint.Host, &with)
	return client{made, trailing}, err
}

func (c client) Put(bucket, key string, put contract.Put) (contract.Stored, error) {
	options := minio.PutObjectOptions{
		ContentType: put.ContentType, CacheControl: put.CacheControl, ContentDisposition: put.ContentDisposition,
		ContentEncoding: put.ContentEncoding, UserMetadata: put.Metadata, UserTags: put.Tags,
	}
	if put.IfAbsent {
		options.SetMatchETagExcept("*")
	}
	by := c.Client
	switch put.Checksum {
	case "CRC32C":
		by, options.Checksum = c.trailing, minio.ChecksumCRC32C
	case "SHA256":
		by, options.Checksum = c.trailing, minio.ChecksumSHA256
	}
	info, err := by.PutObject(ctx, bucket, key, bytes.NewReader(put.Body), int64(len(put.Body)), options)
	return contract.Stored{ETag: info.ETag, Version: info.VersionID}, err
}

func (c client) Get(bucket, key, version string, part *contract.Range) (contract.Object, error) {
	options := minio.GetObjectOptions{VersionID: version, Checksum: part == nil}
	if part != nil {
		if err := setRange(&options, *part); err != nil {
			return contract.Object{}, err
		}
	}
	object, err := c.GetObject(ctx, bucket, key, options)
	if err != nil {
		return contract.Object{}, err
	}
	defer object.Close()
	body, err := io.ReadAll(object)
	return contract.Object{Body: body}, err
}

// setRange: minio-go writes a suffix as (0, -n) and an open range as (first, 0).
func setRange(options *minio.GetObjectOptions, part contract.Range) error {
	switch {
	case part.First < 0:
		return options.SetRange(0, -part.Last)
	case part.Last < 0:
		return options.SetRange(part.First, 0)
	}
	return options.SetRange(part.First, part.Last)
}

func (c client) Head(bucket, key string) (contract.Object, error) {
	info, err := c.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	return contract.Object{
		Size: info.Size, ETag: info.ETag, ContentType: info.ContentType,
		CacheControl: info.Metadata.Get("Cache-Control"), ContentDisposition: info.Metadata.Get("Content-Disposition"),
		ContentEncoding: info.Metadata.Get("Content-Encoding"), Metadata: info.UserMetadata,
	}, err
}

func (c client) Delete(bucket, key, version string) error {
	return c.RemoveObject(ctx, bucket, key, minio.RemoveObjectOptions{VersionID: version})
}

func (c client) DeleteMany(bucket string, keys []string) error {
	doomed := make(chan minio.ObjectInfo, len(keys))
	for _, key := range keys {
		doomed <- minio.ObjectInfo{Key: key}
	}
	close(doomed)
	var first error
	for failed := range c.RemoveObjects(ctx, bucket, doomed, minio.RemoveObjectsOptions{}) {
		if first == nil {
			first = failed.Err
		}
	}
	return first
}

// List: minio-go knows "/" as its only delimiter, and gives a prefix as an object without an ETag.
func (c client) List(bucket, prefix, delimiter string) (contract.Listing, error) {
	var listing contract.Listing
	for object := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: delimiter == ""}) {
		if object.Err != nil {
			return listing, object.Err
		}
		if object.ETag == "" && strings.HasSuffix(object.Key, "/") {
			listing.Prefixes = append(listing.Prefixes, object.Key)
		} else {
			listing.Entries = append(listing.Entries, contract.Entry{Key: object.Key, Size: object.Size})
		}
	}
	return listing, nil
}

func (c client) ListVersions(bucket, prefix string) ([]contract.Version, error) {
	var versions []contract.Version
	options := minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithVersions: true}
	for object := range c.ListObjects(ctx, bucket, options) {
		if object.Err != nil {
			return nil, object.Err
		}
		versions = append(versions, contract.Version{
			Key: object.Key, ID: object.VersionID, Latest: object.IsLatest, Marker: object.IsDeleteMarker,
		})
	}
	return versions, nil
}

func (c client) Upload(bucket, key, path string) error {
	_, err := c.FPutObject(ctx, bucket, key, path, minio.PutObjectOptions{})
	return err
}

func (c client) Download(bucket, key, path string) error {
	return c.FGetObject(ctx, bucket, key, path, minio.GetObjectOptions{})
}

func (c client) UploadStream(bucket, key string, stream io.Reader) error {
	_, err := c.PutObject(ctx, bucket, key, stream, -1, minio.PutObjectOptions{})
	return err
}

func (c client) Copy(bucket, source, target string) error {
	_, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: target}, minio.CopySrcOptions{Bucket: bucket, Object: source})
	return err
}

func (c client) CopyLarge(bucket, source, target string) error {
	_, err := c.ComposeObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: target}, minio.CopySrcOptions{Bucket: bucket, Object: source})
	return err
}

func (c client) SetTags(bucket, key string, set map[string]string) error {
	parsed, err := tags.NewTags(set, true)
	if err != nil {
		return err
	}
	return c.PutObjectTagging(ctx, bucket, key, parsed, minio.PutObjectTaggingOptions{})
}

func (c client) Tags(bucket, key string) (map[string]string, error) {
	found, err := c.GetObjectTagging(ctx, bucket, key, minio.GetObjectTaggingOptions{})
	if err != nil {
		return nil, err
	}
	return found.ToMap(), nil
}

func (c client) RemoveTags(bucket, key string) error {
	return c.RemoveObjectTagging(ctx, bucket, key, minio.RemoveObjectTaggingOptions{})
}

func (c client) PresignGet(bucket, key string) (string, error) {
	return text(c.PresignedGetObject(ctx, bucket, key, 15*time.Minute, nil))
}

func (c client) PresignPut(bucket, key string) (string, error) {
	return text(c.PresignedPutObject(ctx, bucket, key, 15*time.Minute))
}

func text(signed *url.URL, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return signed.String(), nil
}

func (c client) StartUpload(bucket, key string, part []byte) (string, error) {
	core := minio.Core{Client: c.Client}
	id, err := core.NewMultipartUpload(ctx, bucket, key, minio.PutObjectOptions{})
	if err != nil {
		return "", err
	}
	_, err = core.PutObjectPart(ctx, bucket, key, id, 1, bytes.NewReader(part), int64(len(part)), minio.PutObjectPartOptions{})
	return id, err
}

func (c client) AbortUpload(bucket, key, id string) error {
	return minio.Core{Client: c.Client}.AbortMultipartUpload(ctx, bucket, key, id)
}

func (c client) Uploads(bucket, prefix string) ([]string, error) {
	var ids []string
	for upload := range c.ListIncompleteUploads(ctx, bucket, prefix, true) {
		if upload.Err != nil {
			return nil, upload.Err
		}
		ids = append(ids, upload.UploadID)
	}
	return ids, nil
}

func (client) NotFound(err error) bool { return status(err) == http.StatusNotFound }

func (client) Refused(err error) bool { return status(err) == http.StatusPreconditionFailed }

func (client) Checksums() []string { return []string{"CRC32C", "SHA256"} }

func status(err error) int {
	if err == nil {
		return 0
	}
	return minio.ToErrorResponse(err).StatusCode
}
