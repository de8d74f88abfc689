// aws-sdk-go v1 with s3manager for files and streams.
package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"
	"github.com/aws/aws-sdk-go/service/s3/s3manager"

	"sealgate/contract"
)

func main() { contract.Main(connect) }

type client struct{ s3 *s3.S3 }

func connect(in contract.Input) (contract.Client, error) {
	options := session.Options{Config: aws.Config{
		Endpoint: &in.Endpoint, Region: &in.Region, S3ForcePathStyle: aws.Bool(in.Addressing == "path"),
		Credentials: credentials.NewStaticCredentials(in.AccessKey, in.SecretKey, ""),
		// Without it the SDK sends a//b as a/b.
		DisableRestProtocolURICleaning: aws.Bool(true),
	}}
	if in.CA != "" {
		pem, err := os.Open(in.CA)
		if err != nil {
			return nil, err
		}
		defer pem.Close()
		options.CustomCABundle = pem
	}
	made, err := session.NewSessionWithOptions(options)
	if err != nil {
		return nil, err
	}
	return client{s3.New(made)}, nil
}

func (c client) Put(bucket, key string, put contract.Put) (contract.Stored, error) {
	input := &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: bytes.NewReader(put.Body), Metadata: aws.StringMap(put.Metadata),
		ContentType: optional(put.ContentType), CacheControl: optional(put.CacheControl),
		ContentDisposition: optional(put.ContentDisposition), ContentEncoding: optional(put.ContentEncoding),
		Tagging: optional(query(put.Tags)),
	}
	request, out := c.s3.PutObjectRequest(input)
	if put.IfAbsent {
		// This SDK is older than conditional puts: the header is set by hand.
		request.HTTPRequest.Header.Set("If-None-Match", "*")
	}
	if err := request.Send(); err != nil {
		return contract.Stored{}, err
	}
	return contract.Stored{ETag: aws.StringValue(out.ETag), Version: aws.StringValue(out.VersionId)}, nil
}

func (c client) Get(bucket, key, version string, part *contract.Range) (contract.Object, error) {
	input := &s3.GetObjectInput{Bucket: &bucket, Key: &key, VersionId: optional(version)}
	if part != nil {
		input.Range = aws.String(part.Header())
	}
	out, err := c.s3.GetObject(input)
	if err != nil {
		return contract.Object{}, err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	return contract.Object{Body: body}, err
}

func (c client) Head(bucket, key string) (contract.Object, error) {
	out, err := c.s3.HeadObject(&s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return contract.Object{}, err
	}
	return contract.Object{
		Size: aws.Int64Value(out.ContentLength), ETag: aws.StringValue(out.ETag), ContentType: aws.StringValue(out.ContentType),
		CacheControl: aws.StringValue(out.CacheControl), ContentDisposition: aws.StringValue(out.ContentDisposition),
		ContentEncoding: aws.StringValue(out.ContentEncoding), Metadata: aws.StringValueMap(out.Metadata),
	}, nil
}

func (c client) Delete(bucket, key, version string) error {
	_, err := c.s3.DeleteObject(&s3.DeleteObjectInput{Bucket: &bucket, Key: &key, VersionId: optional(version)})
	return err
}

func (c client) DeleteMany(bucket string, keys []string) error {
	var objects []*s3.ObjectIdentifier
	for _, key := range keys {
		objects = append(objects, &s3.ObjectIdentifier{Key: aws.String(key)})
	}
	out, err := c.s3.DeleteObjects(&s3.DeleteObjectsInput{Bucket: &bucket, Delete: &s3.Delete{Objects: objects}})
	if err == nil && len(out.Errors) > 0 {
		err = errors.New(out.Errors[0].String())
	}
	return err
}

func (c client) List(bucket, prefix, delimiter string) (contract.Listing, error) {
	var listing contract.Listing
	input := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, Delimiter: optional(delimiter)}
	err := c.s3.ListObjectsV2Pages(input, func(page *s3.ListObjectsV2Output, _ bool) bool {
		for _, object := range page.Contents {
			listing.Entries = append(listing.Entries, contract.Entry{Key: *object.Key, Size: *object.Size})
		}
		for _, prefix := range page.CommonPrefixes {
			listing.Prefixes = append(listing.Prefixes, *prefix.Prefix)
		}
		return true
	})
	return listing, err
}

func (c client) ListVersions(bucket, prefix string) ([]contract.Version, error) {
	out, err := c.s3.ListObjectVersions(&s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		return nil, err
	}
	var versions []contract.Version
	for _, marker := range out.DeleteMarkers {
		versions = append(versions, contract.Version{Key: *marker.Key, ID: *marker.VersionId, Latest: *marker.IsLatest, Marker: true})
	}
	for _, version := range out.Versions {
		versions = append(versions, contract.Version{Key: *version.Key, ID: *version.VersionId, Latest: *version.IsLatest})
	}
	return versions, nil
}

func (c client) Upload(bucket, key, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return c.UploadStream(bucket, key, file)
}

func (c client) UploadStream(bucket, key string, stream io.Reader) error {
	_, err := s3manager.NewUploaderWithClient(c.s3).Upload(&s3manager.UploadInput{Bucket: &bucket, Key: &key, Body: stream})
	return err
}

func (c client) Download(bucket, key, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = s3manager.NewDownloaderWithClient(c.s3).Download(file, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	return err
}

func (c client) Copy(bucket, source, target string) error {
	from := bucket + "/" + strings.ReplaceAll(url.PathEscape(source), "%2F", "/")
	_, err := c.s3.CopyObject(&s3.CopyObjectInput{Bucket: &bucket, Key: &target, CopySource: &from})
	return err
}

// CopyLarge: the SDK's own way is CopyObject, whose limit is 5 GiB.
func (c client) CopyLarge(bucket, source, target string) error { return c.Copy(bucket, source, target) }

func (c client) SetTags(bucket, key string, tags map[string]string) error {
	var set []*s3.Tag
	for name, value := range tags {
		set = append(set, &s3.Tag{Key: aws.String(name), Value: aws.String(value)})
	}
	_, err := c.s3.PutObjectTagging(&s3.PutObjectTaggingInput{Bucket: &bucket, Key: &key, Tagging: &s3.Tagging{TagSet: set}})
	return err
}

func (c client) Tags(bucket, key string) (map[string]string, error) {
	out, err := c.s3.GetObjectTagging(&s3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	for _, tag := range out.TagSet {
		tags[*tag.Key] = *tag.Value
	}
	return tags, nil
}

func (c client) RemoveTags(bucket, key string) error {
	_, err := c.s3.DeleteObjectTagging(&s3.DeleteObjectTaggingInput{Bucket: &bucket, Key: &key})
	return err
}

func (c client) PresignGet(bucket, key string) (string, error) {
	request, _ := c.s3.GetObjectRequest(&s3.GetObjectInput{Bucket: &bucket, Key: &key})
	return request.Presign(15 * time.Minute)
}

func (c client) PresignPut(bucket, key string) (string, error) {
	request, _ := c.s3.PutObjectRequest(&s3.PutObjectInput{Bucket: &bucket, Key: &key})
	return request.Presign(15 * time.Minute)
}

func (c client) StartUpload(bucket, key string, part []byte) (string, error) {
	out, err := c.s3.CreateMultipartUpload(&s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	_, err = c.s3.UploadPart(&s3.UploadPartInput{
		Bucket: &bucket, Key: &key, UploadId: out.UploadId, PartNumber: aws.Int64(1), Body: bytes.NewReader(part),
	})
	return aws.StringValue(out.UploadId), err
}

func (c client) AbortUpload(bucket, key, id string) error {
	_, err := c.s3.AbortMultipartUpload(&s3.AbortMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: &id})
	return err
}

func (c client) Uploads(bucket, prefix string) ([]string, error) {
	out, err := c.s3.ListMultipartUploads(&s3.ListMultipartUploadsInput{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, upload := range out.Uploads {
		ids = append(ids, aws.StringValue(upload.UploadId))
	}
	return ids, nil
}

func (client) NotFound(err error) bool { return status(err) == http.StatusNotFound }

func (client) Refused(err error) bool { return status(err) == http.StatusPreconditionFailed }

// Checksums: this SDK computes none, only Content-MD5.
func (client) Checksums() []string { return nil }

func status(err error) int {
	var failed awserr.RequestFailure
	if errors.As(err, &failed) {
		return failed.StatusCode()
	}
	return 0
}

func query(tags map[string]string) string {
	values := url.Values{}
	for name, value := range tags {
		values.Set(name, value)
	}
	return values.Encode()
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
