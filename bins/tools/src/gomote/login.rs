//! `gomote login`: a token that was given, or one of an identity provider, which is renewed.

use std::path::Path;

use build_client::device::{self, DeviceLogin, Tokens};
use build_client::gomote::Login as Kept;
use build_client::{Error, ErrorKind};
use farmer_cli::Failure;
use serde_json::json;

use super::args::Login;
use super::place::Place;
use crate::told::failed;

/// A token that is good for less is renewed.
const SOON: i64 = 60;

/// Keeps a token.
pub(super) async fn login(place: &Place, args: Login) -> Result<(), Failure> {
    match args.device {
        true => at_provider(place, args).await,
        false => given(place, args.token_file.as_deref().unwrap_or(Path::new("-"))),
    }
}

fn given(place: &Place, file: &Path) -> Result<(), Failure> {
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| {
        Failure::usage(
            format!("cannot read {}: {error}", file.display()),
            "ask an admin of the farm for a token",
        )
    })?;
    if text.trim().is_empty() || text.trim().contains(char::is_whitespace) {
        return Err(Failure::usage("this is no token", "a token is one word"));
    }
    keep(place, &text, None)
}

async fn at_provider(place: &Place, args: Login) -> Result<(), Failure> {
    let secret = match &args.client_secret_file {
        Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
            let text = format!("cannot read {}: {error}", file.display());
            Failure::usage(text, "name the file of the secret with -client-secret-file")
        })?),
        None => None,
    };
    let secret = secret.map(|text| text.trim().to_owned());
    let (issuer, client_id) = provider(place, args.issuer, args.client_id).await?;
    let roots = place.roots.as_deref().map(str::as_bytes);
    let at = DeviceLogin::discover(&issuer, &client_id, secret.clone(), roots).await;
    let at = at.map_err(|e| failed(&e))?;
    let prompt = at.begin().await.map_err(|e| failed(&e))?;
    let minutes = prompt.expires.as_secs().div_ceil(60);
    if place.json {
        let told = json!({
            "address": prompt.address,
            "code": prompt.code,
            "whole_address": prompt.whole_address,
            "expires_in": prompt.expires.as_secs(),
        });
        println!("{told}");
    }
    eprintln!(
        "# open {} and type this code: {}",
        prompt.address, prompt.code
    );
    if let Some(whole) = &prompt.whole_address {
        eprintln!("# or open {whole} and see that it shows the same code");
    }
    eprintln!("# there are {minutes} min for that; waiting …");
    let tokens = at.wait(&prompt).await.map_err(|e| failed(&e))?;
    let renewed_by = tokens.refresh_token.map(|refresh_token| Kept {
        issuer,
        client_id,
        client_secret: secret,
        refresh_token,
    });
    if renewed_by.is_none() {
        eprintln!("# the provider renews no tokens: log in again when this one has expired");
    }
    keep(place, &tokens.id_token, renewed_by.as_ref())
}

fn keep(place: &Place, token: &str, login: Option<&Kept>) -> Result<(), Failure> {
    let (folder, user) = (&place.folder, &place.user);
    let kept = folder.keep_token(user, place.staging, token);
    let kept = kept.map_err(|e| failed(&e))?;
    let login = folder.keep_login(user, place.staging, login);
    login.map_err(|e| failed(&e))?;
    eprintln!("# wrote {}", kept.display());
    Ok(())
}

/// The provider that was named, or the only one of the farm; and what the farm is called there.
async fn provider(
    place: &Place,
    issuer: Option<String>,
    client_id: Option<String>,
) -> Result<(String, String), Failure> {
    if let (Some(issuer), Some(client_id)) = (&issuer, client_id) {
        return Ok((issuer.clone(), client_id));
    }
    let mut known = place.client()?.identity_providers().await;
    if let Ok(known) = &mut known {
        known.retain(|one| issuer.as_ref().is_none_or(|issuer| one.issuer == *issuer));
    }
    let known = known.map_err(|e| failed(&e))?;
    match &known[..] {
        [only] => Ok((only.issuer.clone(), only.client_id.clone())),
        [] => Err(Failure::usage(
            match issuer {
                Some(issuer) => format!("the farm takes no tokens of {issuer}"),
                None => "the farm takes no tokens of an identity provider".into(),
            },
            "ask an admin for a token; or name the provider: -device -issuer URL -client-id NAME",
        )),
        several => {
            let names: Vec<_> = several.iter().map(|one| one.issuer.as_str()).collect();
            Err(Failure::usage(
                format!("the farm takes tokens of {}", names.join(" and ")),
                "name one with -issuer",
            ))
        }
    }
}

/// The token of the user, renewed when it has expired and can be; nothing when there is none: what
/// is said then is the farm's answer.
pub(super) async fn token(place: &Place) -> Result<String, Error> {
    let (folder, user, staging) = (&place.folder, &place.user, place.staging);
    let token = match folder.token(user, staging) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        token => token?,
    };
    let now = jiff::Timestamp::now().as_second();
    if device::expires(&token).is_none_or(|at| at - now >= SOON) {
        return Ok(token);
    }
    let Some(login) = folder.login(user, staging)? else {
        return Ok(token);
    };
    match renew(place, &login).await {
        Ok(tokens) => {
            folder.keep_token(user, staging, &tokens.id_token)?;
            if let Some(refresh_token) = tokens.refresh_token {
                let login = Kept {
                    refresh_token,
                    ..login
                };
                folder.keep_login(user, staging, Some(&login))?;
            }
            Ok(tokens.id_token)
        }
        Err(error) => {
            let why = error.chain();
            eprintln!("# your token has expired and is not renewed: {why}");
            eprintln!("# log in again: gomote login -device");
            Ok(token)
        }
    }
}

async fn renew(place: &Place, login: &Kept) -> Result<Tokens, Error> {
    let roots = place.roots.as_deref().map(str::as_bytes);
    let (issuer, client) = (&login.issuer, &login.client_id);
    let at = DeviceLogin::discover(issuer, client, login.client_secret.clone(), roots).await?;
    at.refresh(&login.refresh_token).await
}
