// aws-sdk-go-v2 with feature/s3/manager for files and streams.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"sealgate/contract"
)

func main() { contract.Main(connect) }

var ctx = context.Background()

type client struct{ s3 *s3.Client }

func connect(in contract.Input) (contract.Client, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRegion(in.Region),
		config.WithBaseEndpoint(in.Endpoint),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(in.AccessKey, in.SecretKey, "")),
	}
	if in.CA != "" {
		pem, err := os.Open(in.CA)
		if err != nil {
			return nil, err
		}
		defer pem.Close()
		options = append(options, config.WithCustomCABundle(pem))
	}
	settings, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, err
	}
	return client{s3.NewFromConfig(settings, func(o *s3.Options) { o.UsePathStyle = in.Addressing == "path" })}, nil
}

func (c client) Put(bucket, key string, put contract.Put) (contract.Stored, error) {
	input := &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: bytes.NewReader(put.Body), Metadata: put.Metadata,
		ContentType: optional(put.ContentType), CacheControl: optional(put.CacheControl),
		ContentDisposition: optional(put.ContentDisposition), ContentEncoding: optional(put.ContentEncoding),
		ChecksumAlgorithm: types.ChecksumAlgorithm(put.Checksum),
	}
	if put.Tags != nil {
		input.Tagging = optional(query(put.Tags))
	}
	if put.IfAbsent {
		input.IfNoneMatch = aws.String("*")
	}
	out, err := c.s3.PutObject(ctx, input)
	if err != nil {
		return contract.Stored{}, err
	}
	return contract.Stored{ETag: aws.ToString(out.ETag), Version: aws.ToString(out.VersionId)}, nil
}

func (c client) Get(bucket, key, version string, part *contract.Range) (contract.Object, error) {
	input := &s3.GetObjectInput{Bucket: &bucket, Key: &key, VersionId: optional(version)}
	if part != nil {
		input.Range = aws.String(part.Header())
	}
	out, err := c.s3.GetObject(ctx, input)
	if err != nil {
		return contract.Object{}, err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	return contract.Object{Body: body, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag)}, err
}

func (c client) Head(bucket, key string) (contract.Object, error) {
	out, err := c.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return contract.Object{}, err
	}
	return contract.Object{
		Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), ContentType: aws.ToString(out.ContentType),
		CacheControl: aws.ToString(out.CacheControl), ContentDisposition: aws.ToString(out.ContentDisposition),
		ContentEncoding: aws.ToString(out.ContentEncoding), Metadata: out.Metadata,
	}, nil
}

func (c client) Delete(bucket, key, version string) error {
	_, err := c.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key, VersionId: optional(version)})
	return err
}

func (c client) DeleteMany(bucket string, keys []string) error {
	var objects []types.ObjectIdentifier
	for _, key := range keys {
		objects = append(objects, types.ObjectIdentifier{Key: aws.String(key)})
	}
	out, err := c.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: objects}})
	if err == nil && len(out.Errors) > 0 {
		err = fmt.Errorf("%s: %s", aws.ToString(out.Errors[0].Key), aws.ToString(out.Errors[0].Message))
	}
	return err
}

func (c client) List(bucket, prefix, delimiter string) (contract.Listing, error) {
	var listing contract.Listing
	pages := s3.NewListObjectsV2Paginator(c.s3, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, Delimiter: optional(delimiter)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return listing, err
		}
		for _, object := range page.Contents {
			listing.Entries = append(listing.Entries, contract.Entry{Key: *object.Key, Size: aws.ToInt64(object.Size)})
		}
		for _, prefix := range page.CommonPrefixes {
			listing.Prefixes = append(listing.Prefixes, *prefix.Prefix)
		}
	}
	return listing, nil
}

func (c client) ListVersions(bucket, prefix string) ([]contract.Version, error) {
	out, err := c.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix})
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
	_, err := manager.NewUploader(c.s3).Upload(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: stream})
	return err
}

func (c client) Download(bucket, key, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = manager.NewDownloader(c.s3).Download(ctx, file, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	return err
}

func (c client) Copy(bucket, source, target string) error {
	_, err := c.s3.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &bucket, Key: &target, CopySource: aws.String(copySource(bucket, source))})
	return err
}

// CopyLarge: the SDK's own way is CopyObject, whose limit is 5 GiB.
func (c client) CopyLarge(bucket, source, target string) error { return c.Copy(bucket, source, target) }

func (c client) SetTags(bucket, key string, tags map[string]string) error {
	var set []types.Tag
	for name, value := range tags {
		set = append(set, types.Tag{Key: aws.String(name), Value: aws.String(value)})
	}
	_, err := c.s3.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: &bucket, Key: &key, Tagging: &types.Tagging{TagSet: set}})
	return err
}

func (c client) Tags(bucket, key string) (map[string]string, error) {
	out, err := c.s3.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
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
	_, err := c.s3.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: &bucket, Key: &key})
	return err
}

func (c client) PresignGet(bucket, key string) (string, error) {
	signed, err := s3.NewPresignClient(c.s3).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	return signed.URL, nil
}

func (c client) PresignPut(bucket, key string) (string, error) {
	signed, err := s3.NewPresignClient(c.s3).PresignPutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	return signed.URL, nil
}

func (c client) StartUpload(bucket, key string, part []byte) (string, error) {
	out, err := c.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	_, err = c.s3.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &bucket, Key: &key, UploadId: out.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(part),
	})
	return aws.ToString(out.UploadId), err
}

func (c client) AbortUpload(bucket, key, id string) error {
	_, err := c.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: &id})
	return err
}

func (c client) Uploads(bucket, prefix string) ([]string, error) {
	out, err := c.s3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, upload := range out.Uploads {
		ids = append(ids, aws.ToString(upload.UploadId))
	}
	return ids, nil
}

func (client) NotFound(err error) bool {
	return code(err) == "NotFound" || code(err) == "NoSuchKey"
}

func (client) Refused(err error) bool { return code(err) == "PreconditionFailed" }

func (client) Checksums() []string { return []string{"CRC32C", "SHA256"} }

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// copySource is a value for a header that the SDK does not encode by itself.
func copySource(bucket, key string) string {
	return bucket + "/" + strings.ReplaceAll(url.PathEscape(key), "%2F", "/")
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
