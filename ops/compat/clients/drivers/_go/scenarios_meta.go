package contract

import (
	"fmt"
	"slices"
	"strings"
)

func (d driver) metadata() error {
	key := d.key("metadata/one")
	put := Put{
		Body: []byte("with metadata"), ContentType: "text/x-contract", CacheControl: "max-age=60, private",
		ContentDisposition: `attachment; filename="a b.txt"`, ContentEncoding: "gzip",
		Metadata: map[string]string{"short": "value", "with-dash": "a b; c=d", "long": strings.Repeat("v", 200)},
	}
	if _, err := d.Put(d.Bucket, key, put); err != nil {
		return err
	}
	head, err := d.Head(d.Bucket, key)
	if err != nil {
		return err
	}
	headers := []string{head.ContentType, head.CacheControl, head.ContentDisposition, head.ContentEncoding}
	wanted := []string{put.ContentType, put.CacheControl, put.ContentDisposition, put.ContentEncoding}
	if err := same("the headers", headers, wanted); err != nil {
		return err
	}
	return same("the metadata", lower(head.Metadata), put.Metadata)
}

func (d driver) tags() error {
	key := d.key("tags/one")
	steps := []struct {
		what string
		tags map[string]string
	}{
		{"at the put", map[string]string{"team": "a+b", "note": "with space"}},
		{"by themselves", map[string]string{"other": "x=y"}},
		{"after their removal", map[string]string{}},
	}
	for number, step := range steps {
		var err error
		switch number {
		case 0:
			_, err = d.Put(d.Bucket, key, Put{Body: []byte("tagged"), Tags: step.tags})
		case 1:
			err = d.SetTags(d.Bucket, key, step.tags)
		case 2:
			err = d.RemoveTags(d.Bucket, key)
		}
		if err != nil {
			return fmt.Errorf("tags %s: %w", step.what, err)
		}
		found, err := d.Tags(d.Bucket, key)
		if err != nil {
			return fmt.Errorf("reading tags %s: %w", step.what, err)
		}
		if err := same("the tags "+step.what, found, step.tags); err != nil {
			return err
		}
	}
	return nil
}

func (d driver) presignedGet() error {
	key := d.key("presigned/get one")
	body, err := d.Body(small)
	if err != nil {
		return err
	}
	if _, err := d.Put(d.Bucket, key, Put{Body: body}); err != nil {
		return err
	}
	url, err := d.PresignGet(d.Bucket, key)
	if err != nil {
		return err
	}
	got, err := d.plainHTTP("GET", url, nil)
	if err != nil {
		return err
	}
	return same("the body is as put", string(got) == string(body), true)
}

func (d driver) presignedPut() error {
	key := d.key("presigned/put")
	body, err := d.Body(small)
	if err != nil {
		return err
	}
	url, err := d.PresignPut(d.Bucket, key)
	if err != nil {
		return err
	}
	if _, err := d.plainHTTP("PUT", url, body); err != nil {
		return err
	}
	return d.holds(key, body)
}

func (d driver) conditionalPut() error {
	key := d.key("conditional/one")
	// What an earlier run left must not be what is refused first.
	if err := d.Delete(d.Bucket, key, ""); err != nil {
		return err
	}
	if _, err := d.Put(d.Bucket, key, Put{Body: []byte("first"), IfAbsent: true}); err != nil {
		return fmt.Errorf("first put: %w", err)
	}
	if _, err := d.Put(d.Bucket, key, Put{Body: []byte("second"), IfAbsent: true}); err == nil || !d.Refused(err) {
		return fmt.Errorf("second put was not refused with 412: %v", err)
	}
	return d.holds(key, []byte("first"))
}

func (d driver) versions() error {
	bucket, key := d.VersionedBucket, d.key("versions/one")
	var ids []string
	for _, body := range []string{"first", "second"} {
		stored, err := d.Put(bucket, key, Put{Body: []byte(body)})
		if err != nil {
			return err
		}
		ids = append(ids, stored.Version)
	}
	for number, body := range []string{"first", "second"} {
		got, err := d.Get(bucket, key, ids[number], nil)
		if err != nil {
			return fmt.Errorf("get of version %d: %w", number, err)
		}
		if err := same("the body of a version", string(got.Body), body); err != nil {
			return err
		}
	}
	listed, err := d.ListVersions(bucket, key)
	if err != nil {
		return fmt.Errorf("list of versions: %w", err)
	}
	if len(listed) < 2 {
		return fmt.Errorf("%d versions listed", len(listed))
	}
	newest := []Version{{key, ids[1], true, false}, {key, ids[0], false, false}}
	if err := same("the newest versions", listed[:2], newest); err != nil {
		return err
	}
	if err := d.Delete(bucket, key, ""); err != nil {
		return err
	}
	if _, err := d.Head(bucket, key); !d.NotFound(err) {
		return fmt.Errorf("head behind a delete marker: %v", err)
	}
	listed, err = d.ListVersions(bucket, key)
	if err != nil {
		return err
	}
	if !listed[0].Marker || !listed[0].Latest {
		return fmt.Errorf("no delete marker is listed: %v", listed)
	}
	for _, id := range []string{listed[0].ID, ids[1]} {
		if err := d.Delete(bucket, key, id); err != nil {
			return fmt.Errorf("delete of a version: %w", err)
		}
	}
	got, err := d.Get(bucket, key, "", nil)
	if err != nil {
		return fmt.Errorf("get once marker and newest version are gone: %w", err)
	}
	return same("the version left", string(got.Body), "first")
}

func (d driver) checksums() error {
	body, err := d.Body(65537)
	if err != nil {
		return err
	}
	for _, algorithm := range append([]string{""}, d.Checksums()...) {
		key := d.key("checksums/" + algorithm + "-one")
		if _, err := d.Put(d.Bucket, key, Put{Body: body, Checksum: algorithm}); err != nil {
			return fmt.Errorf("put with checksum %q: %w", algorithm, err)
		}
		if err := d.holds(key, body); err != nil {
			return fmt.Errorf("checksum %q: %w", algorithm, err)
		}
	}
	return nil
}

func (d driver) abort() error {
	key := d.key("abort/one")
	body, err := d.Body(5242880)
	if err != nil {
		return err
	}
	id, err := d.StartUpload(d.Bucket, key, body)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	before, err := d.Uploads(d.Bucket, key)
	if err != nil {
		return fmt.Errorf("list of uploads: %w", err)
	}
	if !slices.Contains(before, id) {
		return fmt.Errorf("the upload is not listed: %v", before)
	}
	if err := d.AbortUpload(d.Bucket, key, id); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	after, err := d.Uploads(d.Bucket, key)
	if err != nil {
		return err
	}
	if slices.Contains(after, id) {
		return fmt.Errorf("the upload is listed after its abort")
	}
	if _, err := d.Head(d.Bucket, key); !d.NotFound(err) {
		return fmt.Errorf("head after the abort: %v", err)
	}
	return nil
}
