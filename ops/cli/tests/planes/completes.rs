//! CompleteMultipartUpload that is repeated, raced and lost: one object, one answer, and nothing that cannot be read.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use sealgate_data_plane::backend::GetOptions;
use sealgate_envelope::size::stored_size;
use tokio::sync::oneshot;

use super::s3::{Answer, Client, bytes};
use super::steered::{Call, Moment, Steered};
use super::steering::{MIN_PART, Steering, unavailable, upload_part};
use super::world::soon;

const OBJECT: &str = "/bucket/object";
const NEVER: &str = "Another request never came to this point.";

/// A part of full size and a small one, which is stashed.
fn parts() -> [Bytes; 2] {
    [bytes(MIN_PART, 1), bytes(100_000, 2)]
}

/// Demands that this is the upload's one object, whole, and that all that is left of the upload is its record.
async fn check(steering: &Steering, completed: Vec<Answer>, parts: &[Bytes]) {
    let body = parts.concat();
    let read = steering.plain.get(OBJECT).await.ok();
    assert!(read.body == body, "the object is not what was uploaded");
    for answer in completed {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.tag("ETag").replace("&quot;", "\""), read.etag());
    }
    let stored = steering.storage.head("bucket", "object", GetOptions::default()).await.unwrap().size;
    assert_eq!(Some(stored), stored_size(body.len() as u64), "there is more than one table, or half of one");
    let hidden = steering.hidden().await;
    assert!(matches!(&hidden[..], [record] if record.ends_with("/r")), "{hidden:?}");
}

#[actix_rt::test]
async fn a_complete_whose_answer_was_lost_gets_the_same_answer_again_from_any_node() {
    let steering = Steering::start().await;
    let (id, etags) = steering.upload(OBJECT, &parts()).await;
    steering.backend.fail(Moment::After, Call::Complete, "", unavailable);
    let lost = steering.steered.complete(OBJECT, &id, &etags).await;
    assert_eq!(lost.status, 503, "{}", lost.text());
    let again = vec![
        steering.steered.complete(OBJECT, &id, &etags).await,
        steering.plain.complete(OBJECT, &id, &etags).await,
        steering.steered.complete(OBJECT, &id, &etags).await,
    ];
    check(&steering, again, &parts()).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_complete_whose_outcome_cannot_be_looked_at_is_to_be_tried_again() {
    let steering = Steering::start().await;
    let (id, etags) = steering.upload(OBJECT, &parts()).await;
    let made = steering.steered.complete(OBJECT, &id, &etags).await;
    steering.backend.fail(Moment::Before, Call::Head, "", unavailable);
    let unseen = steering.steered.complete(OBJECT, &id, &etags).await;
    assert_eq!(unseen.status, 503, "{}", unseen.text());
    check(&steering, vec![made, steering.steered.complete(OBJECT, &id, &etags).await], &parts()).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_complete_that_asks_for_something_else_than_was_made_is_no_repetition() {
    let steering = Steering::start().await;
    let (id, etags) = steering.upload(OBJECT, &parts()).await;
    let made = steering.steered.complete(OBJECT, &id, &etags).await;
    for other in [&etags[..1], &[etags[1].clone(), etags[0].clone()][..]] {
        for client in [&steering.steered, &steering.plain] {
            assert_eq!(client.complete(OBJECT, &id, other).await.status, 404, "{other:?}");
        }
    }
    check(&steering, vec![made], &parts()).await;
    // Somebody's newer object is not what this upload made.
    steering.plain.put(OBJECT, "newer").await.ok();
    assert_eq!(steering.steered.complete(OBJECT, &id, &etags).await.status, 404);
    assert_eq!(steering.plain.get(OBJECT).await.ok().body, "newer");
    steering.stop().await;
}

/// Completes through the other node at one moment of the steered one's Complete; gives both answers.
async fn overtaken(steering: &Steering, moment: Moment, call: Call, name: &'static str) -> Vec<Answer> {
    let (id, etags) = steering.upload(OBJECT, &parts()).await;
    let (first, answer) = oneshot::channel();
    let (other, upload, list) = (steering.plain.clone(), id.clone(), etags.clone());
    steering.backend.once(moment, call, name, move || async move {
        first.send(other.complete(OBJECT, &upload, &list).await).unwrap();
        Ok(())
    });
    let second = steering.steered.complete(OBJECT, &id, &etags).await;
    steering.backend.assert_done();
    vec![answer.await.expect(NEVER), second]
}

#[actix_rt::test]
async fn a_complete_that_finds_the_notes_gone_looks_for_what_was_made() {
    let steering = Steering::start().await;
    let answers = overtaken(&steering, Moment::Before, Call::List, "/n/").await;
    check(&steering, answers, &parts()).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_complete_that_finds_the_stash_gone_looks_for_what_was_made() {
    let steering = Steering::start().await;
    let answers = overtaken(&steering, Moment::Before, Call::Get, "/s/00002/").await;
    check(&steering, answers, &parts()).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_complete_that_cannot_write_its_table_any_more_looks_for_what_was_made() {
    let steering = Steering::start().await;
    let answers = overtaken(&steering, Moment::Before, Call::UploadPart, "object#10000").await;
    check(&steering, answers, &parts()).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_complete_that_is_overtaken_at_its_commit_looks_for_what_was_made() {
    let steering = Steering::start().await;
    let answers = overtaken(&steering, Moment::Before, Call::Complete, "object").await;
    check(&steering, answers, &parts()).await;
    steering.stop().await;
}

/// When the second commit comes, of two that wrote their tables over each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    /// Before the first, whose commit was refused, looks at the parts.
    BeforeTheLook,
    /// While the first looks: the parts are being removed.
    DuringTheLook,
    /// After the first has written its table again, and committed it.
    AfterTheFirst,
    /// The same, and a part that nobody listed came before the first looked.
    AfterTheFirstAndAStranger,
}

/// Two steered gateways at one upload: the second writes its table over the first's, and stops before its commit.
async fn tables_over_each_other(when: Second) {
    let steering = Steering::start().await;
    let second = Steered::new(Rc::clone(&steering.storage));
    let address = super::steered::serve(steering.node.node(), Rc::clone(&second) as _).await;
    let (other, plain) = (steering.steered.at(address), steering.plain.clone());
    let (id, etags) = steering.upload(OBJECT, &parts()).await;

    let (written, has_written) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    second.once(Moment::Before, Call::Complete, "object", move || async move {
        written.send(()).unwrap();
        may_go_on.await.expect(NEVER);
        Ok(())
    });
    let (backend, upload, list) = (Rc::clone(&steering.backend), id.clone(), etags.clone());
    let (answered, answer) = oneshot::channel();
    steering.backend.once(Moment::Before, Call::Complete, "object", move || async move {
        let name = upload.clone();
        let completing = actix_rt::spawn(async move { other.complete(OBJECT, &name, &list).await });
        has_written.await.expect(NEVER);
        // The first's commit names a table that is not there any more.
        let (moment, call) = match when {
            Second::BeforeTheLook => (Moment::Before, Call::ListParts),
            Second::DuringTheLook => (Moment::After, Call::ListParts),
            Second::AfterTheFirst | Second::AfterTheFirstAndAStranger => (Moment::After, Call::Complete),
        };
        if when == Second::AfterTheFirstAndAStranger {
            backend.once(Moment::Before, Call::ListParts, "object", move || async move {
                upload_part(&plain, OBJECT, &upload, 7, &parts()[1]).await;
                Ok(())
            });
        }
        let forgetful = Rc::clone(&backend);
        backend.once(moment, call, "object", move || async move {
            go_on.send(()).unwrap();
            answered.send(completing.await.unwrap()).unwrap();
            if when == Second::DuringTheLook {
                forgetful.forget_parts_once();
            }
            Ok(())
        });
        Ok(())
    });
    let first = soon("the first's answer", steering.steered.complete(OBJECT, &id, &etags)).await;
    second.assert_done();
    assert_eq!(first.status, 200, "{when:?}: {}", first.text());
    let answers = vec![first, answer.await.expect(NEVER)];
    check(&steering, answers, &parts()).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_complete_whose_table_was_replaced_and_committed_looks_for_what_was_made() {
    tables_over_each_other(Second::BeforeTheLook).await;
}

#[actix_rt::test]
async fn a_complete_that_sees_parts_vanish_looks_for_what_was_made() {
    tables_over_each_other(Second::DuringTheLook).await;
}

#[actix_rt::test]
async fn a_complete_whose_table_was_replaced_writes_it_again() {
    tables_over_each_other(Second::AfterTheFirst).await;
}

#[actix_rt::test]
async fn a_part_that_is_not_in_the_list_is_no_reason_to_give_up() {
    tables_over_each_other(Second::AfterTheFirstAndAStranger).await;
}

#[actix_rt::test]
async fn many_completes_at_once_make_one_object_and_give_one_answer() {
    let steering = Steering::start().await;
    let (id, etags) = steering.upload(OBJECT, &parts()).await;
    let clients = [&steering.steered, &steering.plain];
    let all = (0..12).map(|n| clients[n % 2].complete(OBJECT, &id, &etags));
    let answers = soon("the answers", join_all(all)).await;
    // A request may give up after three tables were written over its own; the client's retry settles it.
    let (done, raced): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(!done.is_empty(), "nobody completed the upload");
    for answer in raced {
        assert_eq!((answer.status, answer.tag("Code").as_str()), (StatusCode::CONFLICT, "OperationAborted"));
    }
    let mut answers = done;
    answers.push(steering.plain.complete(OBJECT, &id, &etags).await);
    check(&steering, answers, &parts()).await;
    steering.stop().await;
}

/// Another attempt at the first part, as long as the first.
fn other_first() -> Bytes {
    bytes(MIN_PART, 3)
}

async fn upload_again(client: Client, id: String) -> String {
    upload_part(&client, OBJECT, &id, 1, &other_first()).await
}

async fn complete_with_new_etag(steering: &Steering, id: &str, etags: &[String], new: String) {
    let list = [new, etags[1].clone()];
    let answer = steering.steered.complete(OBJECT, id, &list).await;
    check(steering, vec![answer], &[other_first(), parts()[1].clone()]).await;
}

#[actix_rt::test]
async fn a_part_uploaded_again_before_complete_needs_its_new_etag() {
    for steer in [Steered::new, Steered::lenient] {
        let steering = Steering::start_over(steer).await;
        let (id, etags) = steering.upload(OBJECT, &parts()).await;
        let new = upload_again(steering.plain.clone(), id.clone()).await;
        let refused = steering.steered.complete(OBJECT, &id, &etags).await;
        assert_eq!((refused.status, refused.tag("Code").as_str()), (StatusCode::BAD_REQUEST, "InvalidPart"));
        complete_with_new_etag(&steering, &id, &etags, new).await;
        steering.stop().await;
    }
}

#[actix_rt::test]
async fn a_part_uploaded_again_while_the_table_is_written_is_not_committed_under_it() {
    for (steer, refusal) in [
        (Steered::new as fn(_) -> _, (StatusCode::BAD_REQUEST, "InvalidPart")),
        (Steered::lenient, (StatusCode::CONFLICT, "OperationAborted")),
    ] {
        let steering = Steering::start_over(steer).await;
        let (id, etags) = steering.upload(OBJECT, &parts()).await;
        let (done, new) = oneshot::channel();
        let again = upload_again(steering.plain.clone(), id.clone());
        steering.backend.once(Moment::Before, Call::UploadPart, "object#10000", move || async move {
            done.send(again.await).unwrap();
            Ok(())
        });
        let refused = steering.steered.complete(OBJECT, &id, &etags).await;
        assert_eq!((refused.status, refused.tag("Code").as_str()), refusal);
        assert_eq!(steering.plain.get(OBJECT).await.status, 404, "something was committed");
        complete_with_new_etag(&steering, &id, &etags, new.await.expect(NEVER)).await;
        steering.stop().await;
    }
}

#[actix_rt::test]
async fn an_object_that_a_lenient_backend_mixed_is_never_called_done() {
    let steering = Steering::start_over(Steered::lenient).await;
    let (id, etags) = steering.upload(OBJECT, &parts()).await;
    let again = upload_again(steering.plain.clone(), id.clone());
    // After the gateway's last look at the parts. The sizes agree: only the bytes tell.
    steering.backend.once(Moment::Before, Call::Complete, "object", move || async move {
        again.await;
        Ok(())
    });
    let mixed = steering.steered.complete(OBJECT, &id, &etags).await;
    assert_eq!((mixed.status, mixed.tag("Code").as_str()), (StatusCode::CONFLICT, "OperationAborted"));
    let again = steering.steered.complete(OBJECT, &id, &etags).await;
    assert_eq!((again.status, again.tag("Code").as_str()), (StatusCode::NOT_FOUND, "NoSuchUpload"));
    assert_eq!(
        steering.plain.get(OBJECT).await.status,
        422,
        "the object is no mixture, so nothing was tested"
    );
    steering.stop().await;
}

#[actix_rt::test]
async fn a_lenient_backend_that_nobody_disturbs_completes() {
    let steering = Steering::start_over(Steered::lenient).await;
    let (id, etags) = steering.upload(OBJECT, &parts()).await;
    let answers = vec![
        steering.steered.complete(OBJECT, &id, &etags).await,
        steering.steered.complete(OBJECT, &id, &etags).await,
    ];
    check(&steering, answers, &parts()).await;
    steering.stop().await;
}

/// A lenient backend that lists every attempt, and commits the last, whatever is asked for.
#[actix_rt::test]
async fn of_many_listed_attempts_at_a_part_the_one_that_was_committed_is_the_one_that_was_asked_for() {
    for ask_for_new in [true, false] {
        let steering = Steering::start_over(Steered::lenient).await;
        let (id, etags) = steering.upload(OBJECT, &parts()).await;
        let old = steering.storage.list_parts("bucket", "object", &id, 0, 1).await.unwrap().parts.remove(0);
        steering.backend.still_list(old);
        let new = upload_again(steering.plain.clone(), id.clone()).await;
        if ask_for_new {
            complete_with_new_etag(&steering, &id, &etags, new).await;
        } else {
            let mixed = steering.steered.complete(OBJECT, &id, &etags).await;
            assert_eq!(
                (mixed.status, mixed.tag("Code").as_str()),
                (StatusCode::CONFLICT, "OperationAborted")
            );
        }
        steering.stop().await;
    }
}

#[actix_rt::test]
async fn of_many_listed_attempts_at_a_part_the_newest_is_shown() {
    let steering = Steering::start().await;
    let (id, etags) = steering.upload(OBJECT, &parts()).await;
    let old = steering.storage.list_parts("bucket", "object", &id, 0, 1).await.unwrap().parts.remove(0);
    steering.backend.still_list(old);
    let new = upload_again(steering.plain.clone(), id.clone()).await;
    let listed = steering.steered.get(&format!("{OBJECT}?uploadId={id}")).await.ok().text();
    let shown = |etag: &String| listed.contains(&etag.replace('"', "&quot;"));
    assert_eq!(listed.matches("<Part>").count(), 2, "{listed}");
    assert!(shown(&new) && shown(&etags[1]) && !shown(&etags[0]), "{listed}");
    steering.stop().await;
}
