//! Logging in from a terminal, at the provider that is made here.

use build_client::ErrorKind;
use build_client::device::{DeviceLogin, expires};
use serde_json::json;

use super::oidc::{Farm, SigningKey};

#[tokio::test]
async fn a_person_with_a_browser_gets_a_token_that_the_farm_takes() {
    let (farm, key) = (Farm::start().await, SigningKey::new("k1"));
    farm.provider.publish(&[&key]);
    let provider = &farm.provider;
    let token = key.sign(&farm.claims("ann@example.org", &["dev"]));
    let pending = json!({"error": "authorization_pending"});
    let answer =
        |answers: Vec<serde_json::Value>| *provider.answers.lock().unwrap() = answers.into();
    let secret = Some("hush".to_owned());
    let at = DeviceLogin::discover(&provider.address, "farm", secret, None);
    let at = at.await.unwrap();
    let prompt = at.begin().await.unwrap();
    assert_eq!(prompt.code, "WDJB-MJHT");
    assert_eq!(prompt.address, format!("{}/open", provider.address));
    assert!(
        prompt
            .whole_address
            .as_ref()
            .unwrap()
            .ends_with("?code=WDJB-MJHT")
    );
    assert_eq!(prompt.expires.as_secs(), 30);
    // Neither is to be seen in a log.
    assert!(
        !format!("{prompt:?} {at:?}").contains("secret") && !format!("{at:?}").contains("hush")
    );
    answer(vec![
        pending.clone(),
        pending.clone(),
        json!({"id_token": token, "refresh_token": "more", "access_token": "x", "token_type": "Bearer"}),
    ]);
    let tokens = at.wait(&prompt).await.unwrap();
    let asked = provider.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3);
    for part in [
        "device_code=secret",
        "client_id=farm",
        "client_secret=hush",
        "device_code&",
    ] {
        assert!(asked[2].contains(part), "{part} in {}", asked[2]);
    }
    let ann = farm.ask(&tokens.id_token).await.unwrap();
    assert_eq!(ann.user(), Some("ann@example.org"));
    assert!(expires(&tokens.id_token).is_some());

    // Renewed, with and without a new token for the next time; and not any more.
    let refresh = tokens.refresh_token.unwrap();
    answer(vec![
        json!({"id_token": "a.b.c", "refresh_token": "other"}),
        json!({"id_token": "a.b.c"}),
        json!({"error": "invalid_grant", "error_description": "revoked"}),
    ]);
    let renewed = at.refresh(&refresh).await.unwrap();
    assert_eq!(renewed.refresh_token.as_deref(), Some("other"));
    let renewed = at.refresh("other").await.unwrap();
    assert_eq!(renewed.refresh_token.as_deref(), Some("other"));
    let over = at.refresh("other").await.unwrap_err();
    assert_eq!(over.kind(), ErrorKind::Denied);
    assert!(
        over.to_string().ends_with("invalid_grant: revoked"),
        "{over}"
    );
    let last = provider.asked.lock().unwrap().last().unwrap().clone();
    assert!(
        last.contains("grant_type=refresh_token&refresh_token=other"),
        "{last}"
    );

    // Somebody who says no, somebody who says nothing, and what is no token.
    for (answers, kind) in [
        (
            vec![pending.clone(), json!({"error": "access_denied"})],
            ErrorKind::Denied,
        ),
        (vec![pending.clone()], ErrorKind::TimedOut),
        (vec![json!({"error": "invalid_client"})], ErrorKind::Denied),
        (vec![json!({"access_token": "x"})], ErrorKind::Unsupported),
        (vec![json!({"id_token": "a\nb"})], ErrorKind::Corrupt),
        (vec![json!("odd")], ErrorKind::Corrupt),
    ] {
        let what = format!("{answers:?}");
        answer(answers);
        let error = at.wait(&prompt).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
    let other = provider.address.replace("127.0.0.1", "localhost");
    let foreign = DeviceLogin::discover(&other, "farm", None, None)
        .await
        .unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::Invalid);
}
