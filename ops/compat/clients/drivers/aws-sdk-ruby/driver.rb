# frozen_string_literal: true

# aws-sdk-s3 for Ruby: Client, and Object's upload_file, upload_stream and copy_from for what is large.

require 'aws-sdk-s3'
require 'json'
require 'net/http'

LARGE = 68_157_440
SIZES = [0, 1, 65_535, 65_536, 65_537, 5_242_879, 5_242_880, 5_242_881].freeze
NAMES = ['plain', 'with space', 'plus+sign', 'percent%20kept', 'percent%2Fslash', 'ünïcödé', '日本語', 'emoji-😀', 'a//b', 'trailing.',
         'semi;colon', 'at@amp&eq=q?hash#', %q(quote'"), '<xml>&amp;', 'tilde~(paren)!*', 'back\\slash'].freeze

# What a client lacks: a scenario ends as "absent".
class Absent < StandardError; end

# Puts a condition on a request.
class OnlyIfAbsent < Seahorse::Client::Handler
  def call(context)
    context.http_request.headers['If-None-Match'] = '*'
    @handler.call(context)
  end
end

# The scenarios of the contract, one method each.
class Driver
  def initialize(told)
    @told = told
    @bucket = told['bucket']
    settings = {
      endpoint: told['endpoint'], region: told['region'], access_key_id: told['access_key'], secret_access_key: told['secret_key'],
      force_path_style: told['addressing'] == 'path'
    }
    settings[:ssl_ca_bundle] = told['ca'] if told['ca']
    @s3 = Aws::S3::Client.new(settings)
    @resource = Aws::S3::Resource.new(client: @s3)
  end

  def sizes
    SIZES.each do |size|
      at = { bucket: @bucket, key: key("sizes/#{size}") }
      stored = @s3.put_object(**at, body: body(size))
      holds(at[:key], body(size))
      head = @s3.head_object(**at)
      same("the size of #{size} bytes in head", head.content_length, size)
      same("the ETag of #{size} bytes in head", head.etag, stored.etag)
      raise 'there is no ETag' if head.etag.delete('"').empty?

      @s3.delete_object(**at)
      missing(at[:key])
      @s3.put_object(bucket: @bucket, key: key("sizes/kept-#{size}"), body: body(size))
    end
  end

  def multipart
    object('multipart/file').upload_file(body_path(LARGE))
    downloads('multipart/file')
  end

  def unknown_length
    object('unknown/stream').upload_stream do |stream|
      stream.binmode
      File.open(body_path(LARGE), 'rb') { |file| IO.copy_stream(file, stream) }
    end
    downloads('unknown/stream')
  end

  def ranges
    large = body(LARGE)
    { 'bytes=0-0' => 0..0, 'bytes=65530-65545' => 65_530..65_545, "bytes=#{LARGE - 1}-#{LARGE - 1}" => (LARGE - 1)..(LARGE - 1),
      'bytes=-70000' => -70_000..-1, "bytes=#{LARGE - 100_000}-" => -100_000..-1 }.each do |range, part|
      got = @s3.get_object(bucket: @bucket, key: key('multipart/file'), range: range).body.read
      same_bytes(range, got, large[part])
    end
  end

  def names
    possible = NAMES - (@told['cannot_name'] || [])
    wanted = possible.to_h { |name| [key("names/#{name}"), name.bytesize] }
    possible.each do |name|
      put("names/#{name}", name)
      holds(key("names/#{name}"), name)
    end
    same('the names and sizes listed', list('names/').contents.to_h { |one| [one.key, one.size] }, wanted)
  end

  def delimiter
    %w[d/a/1 d/a/2 d/b/1 d/top].each { |name| put(name, name) }
    listed = @s3.list_objects_v2(bucket: @bucket, prefix: key('d/'), delimiter: '/')
    same('the prefixes', listed.common_prefixes.map(&:prefix), [key('d/a/'), key('d/b/')])
    same('the keys', listed.contents.map(&:key), [key('d/top')])
  end

  def many
    keys = @s3.list_objects_v2(bucket: @bucket, prefix: 'many/').flat_map { |page| page.contents.map(&:key) }
    same('the number of keys', keys.length, 1100)
    same('the keys in order and once', keys == keys.sort.uniq, true)
  end

  def copy
    put('copy/source', body(65_536), content_type: 'text/x-copied', metadata: { 'origin' => 'source' })
    object('copy/target').copy_from(object('copy/source'))
    holds(key('copy/target'), body(65_536))
    head = @s3.head_object(bucket: @bucket, key: key('copy/target'))
    same('the content type', head.content_type, 'text/x-copied')
    same('the metadata', head.metadata, { 'origin' => 'source' })
  end

  def copy_large
    object('copy/large').copy_from(object('multipart/file'), multipart_copy: true)
    downloads('copy/large')
  end

  def delete_many
    doomed = (0...25).map { |number| "keep/doomed-#{number}" }
    [*doomed, 'keep/one'].each { |name| put(name, name) }
    answer = @s3.delete_objects(bucket: @bucket, delete: { objects: doomed.map { |name| { key: key(name) } } })
    raise answer.errors.first.message unless answer.errors.empty?

    same('the keys left', list('keep/').contents.map(&:key), [key('keep/one')])
  end

  def metadata
    headers = { content_type: 'text/x-contract', cache_control: 'max-age=60, private', content_disposition: 'attachment; filename="a b.txt"',
                content_encoding: 'gzip' }
    said = { 'short' => 'value', 'with-dash' => 'a b; c=d', 'long' => 'v' * 200 }
    put('metadata/one', 'with metadata', **headers, metadata: said)
    head = @s3.head_object(bucket: @bucket, key: key('metadata/one'))
    headers.each { |name, value| same(name, head[name], value) }
    same('the metadata', head.metadata, said)
  end

  def tags
    at = { bucket: @bucket, key: key('tags/one') }
    found = -> { @s3.get_object_tagging(**at).tag_set.to_h { |tag| [tag.key, tag.value] } }
    first = { 'team' => 'a+b', 'note' => 'with space' }
    put('tags/one', 'tagged', tagging: URI.encode_www_form(first))
    same('the tags of the put', found.call, first)
    @s3.put_object_tagging(**at, tagging: { tag_set: [{ key: 'other', value: 'x=y' }] })
    same('the tags by themselves', found.call, { 'other' => 'x=y' })
    @s3.delete_object_tagging(**at)
    same('the tags after their removal', found.call, {})
  end

  def presigned_get
    put('presigned/get one', body(65_536))
    same_bytes('the body by its URL', plain_http(Net::HTTP::Get, object('presigned/get one').presigned_url(:get)), body(65_536))
  end

  def presigned_put
    plain_http(Net::HTTP::Put, object('presigned/put').presigned_url(:put), body(65_536))
    holds(key('presigned/put'), body(65_536))
  end

  # This release is older than conditional puts: a handler sets the header, before the request is signed.
  def conditional_put
    only_if_absent = lambda do |content|
      request = @s3.build_request(:put_object, bucket: @bucket, key: key('conditional/one'), body: content)
      request.handlers.add(OnlyIfAbsent, step: :build)
      request.send_request
    end
    only_if_absent.call('first')
    refused = begin
      only_if_absent.call('second')
    rescue Aws::S3::Errors::PreconditionFailed => error
      error
    end
    same('the status of the second put', refused.context.http_response.status_code, 412)
    holds(key('conditional/one'), 'first')
  end

  def versions
    at = { bucket: @told['versioned_bucket'], key: key('versions/one') }
    listed = -> { @s3.list_object_versions(bucket: at[:bucket], prefix: at[:key]) }
    ids = %w[first second].map { |content| @s3.put_object(**at, body: content).version_id }
    %w[first second].zip(ids) { |content, id| same('the body of a version', @s3.get_object(**at, version_id: id).body.read, content) }
    same('the versions listed', listed.call.versions.first(2).map { |one| [one.version_id, one.is_latest] }, [[ids[1], true], [ids[0], false]])
    @s3.delete_object(**at)
    missing(at[:key], at[:bucket])
    marker = listed.call.delete_markers.find(&:is_latest)
    [marker.version_id, ids[1]].each { |id| @s3.delete_object(**at, version_id: id) }
    same('what is left', @s3.get_object(**at).body.read, 'first')
  end

  def checksums
    # CRC32C would need a gem of native code.
    [{}, { checksum_algorithm: 'SHA256' }].each do |asked|
      name = "checksums/#{asked.values.first || 'default'}"
      put(name, body(65_537), **asked)
      got = @s3.get_object(bucket: @bucket, key: key(name), checksum_mode: 'ENABLED').body.read
      same_bytes(name, got, body(65_537))
    end
  end

  def sync = raise(Absent, 'the SDK has no sync of a tree')

  def abort
    at = { bucket: @bucket, key: key('abort/one') }
    id = @s3.create_multipart_upload(**at).upload_id
    listed = -> { @s3.list_multipart_uploads(bucket: @bucket, prefix: at[:key]).uploads.map(&:upload_id).include?(id) }
    @s3.upload_part(**at, upload_id: id, part_number: 1, body: body(5_242_880))
    same('the upload is listed', listed.call, true)
    @s3.abort_multipart_upload(**at, upload_id: id)
    same('the upload is listed after its abort', listed.call, false)
    missing(at[:key])
  end

  private

  def key(name) = @told['prefix'] + name

  def body_path(size) = File.join(@told['files'], size.to_s)

  def body(size) = File.binread(body_path(size))

  def object(name) = @resource.bucket(@bucket).object(key(name))

  def put(name, content, **said) = @s3.put_object(bucket: @bucket, key: key(name), body: content, **said)

  def list(name) = @s3.list_objects_v2(bucket: @bucket, prefix: key(name))

  def holds(at, content) = same_bytes("get of #{at}", @s3.get_object(bucket: @bucket, key: at).body.read, content)

  def missing(at, bucket = @bucket)
    @s3.head_object(bucket: bucket, key: at)
    raise "#{at} is still there"
  rescue Aws::S3::Errors::NotFound
    nil
  end

  def downloads(name)
    file = File.join(@told['work'], 'downloaded')
    object(name).download_file(file)
    same_bytes(name, File.binread(file), body(LARGE))
    File.delete(file)
  end

  # Uses a URL as somebody without any S3 client does.
  def plain_http(method, url, content = nil)
    uri = URI(url)
    request = method.new(uri)
    request.body = content
    request['Content-Type'] = '' if content
    answer = Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == 'https', ca_file: @told['ca']) { |http| http.request(request) }
    raise "#{method::METHOD} by its URL: #{answer.code} #{answer.body}" unless answer.code == '200'

    answer.body
  end

  def same(what, got, want)
    raise "#{what}: #{got.inspect} instead of #{want.inspect}" unless got == want
  end

  # Bodies are compared without printing them.
  def same_bytes(what, got, want)
    raise "#{what}: #{got.bytesize} bytes that are not the #{want.bytesize} put" unless got.b == want.b
  end
end

told = JSON.parse($stdin.read)
driver = Driver.new(told)
$stdout.sync = true
told['scenarios'].each do |name|
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  said = { scenario: name, result: 'pass', detail: '' }
  begin
    driver.public_send(name)
  rescue Absent => lack
    said.update(result: 'absent', detail: lack.message)
  rescue StandardError => error
    warn error.full_message
    said.update(result: 'fail', detail: "#{error.class}: #{error.message}")
  end
  puts JSON.generate(said.merge(seconds: Process.clock_gettime(Process::CLOCK_MONOTONIC) - began))
end
