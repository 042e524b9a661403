use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount,
    NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use super::super::Error;
use super::super::sni::provider;
use super::Inner;

/// Between two questions whether the authority is done.
const ASK: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

fn failed(what: &str) -> impl FnOnce(instant_acme::Error) -> Error + '_ {
    move |error| Error::Acme(format!("{what}: {error}"))
}

impl Inner {
    /// Orders a certificate; its key and chain as PEM.
    pub(super) async fn order(&self) -> Result<String, Error> {
        let account = self.account().await?;
        let names: Vec<_> = self.names.iter().cloned().map(Identifier::Dns).collect();
        let new = account.new_order(&NewOrder::new(&names)).await;
        let mut order = new.map_err(failed("order a certificate"))?;
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(failed("ask what is to be proven"))?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(Error::Acme(format!("an authorization is {other:?}"))),
            }
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .ok_or_else(|| {
                    Error::Acme("the authority does not ask within handshakes (TLS-ALPN-01)".into())
                })?;
            let name = challenge.identifier().to_string();
            let proof = proof(&name, challenge.key_authorization().digest().as_ref())?;
            self.resolver.show(name, proof);
            let ready = challenge.set_ready().await;
            ready.map_err(failed("have a name proven"))?;
        }
        match order.poll_ready(&ASK).await {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
            Ok(status) => return Err(self.refused(&mut order, status).await),
            Err(error) => return Err(self.unproven(&error.to_string())),
        }
        let key = KeyPair::generate().map_err(Error::Make)?;
        let mut params = CertificateParams::new(self.names.clone()).map_err(Error::Make)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(Error::Make)?;
        let sent = order.finalize_csr(request.der()).await;
        sent.map_err(failed("ask for the certificate"))?;
        let chain = order.poll_certificate(&ASK).await;
        let chain = chain.map_err(failed("fetch the certificate"))?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// Why an order was refused, as far as the authority says it.
    async fn refused(&self, order: &mut instant_acme::Order, status: OrderStatus) -> Error {
        let mut why = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            let problems = authorization
                .challenges
                .iter()
                .filter_map(|c| c.error.as_ref());
            why.extend(problems.map(ToString::to_string));
        }
        let why = match why.is_empty() {
            true => format!("the order is {status:?}"),
            false => why.join("; "),
        };
        self.unproven(&why)
    }

    fn unproven(&self, why: &str) -> Error {
        let names = self.names.join(", ");
        Error::Acme(format!(
            "the authority could not verify {names} ({why}): each name must lead to port 443 of this server"
        ))
    }

    /// The account at the authority, made when there is none.
    async fn account(&self) -> Result<Account, Error> {
        let builder = match &self.root_file {
            None => Account::builder(),
            Some(file) => Account::builder_with_root(file),
        };
        let builder = builder.map_err(failed("set up the client"))?;
        let place = self.account_key();
        if let Some(bytes) = self.cache.get(&place).await? {
            match serde_json::from_slice::<AccountCredentials>(&bytes) {
                Ok(known) => {
                    let account = builder.from_credentials(known).await;
                    return account.map_err(failed("ask the authority"));
                }
                Err(_) => tracing::warn!("the account in the cache is damaged; another is made"),
            }
        }
        let contact: Vec<_> = self.contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let made = builder.create(&new, self.directory.clone(), None).await;
        let (account, credentials) = made.map_err(failed("make an account"))?;
        let bytes = serde_json::to_vec(&credentials)
            .map_err(|e| Error::Acme(format!("keep the account: {e}")))?;
        self.cache.put(&place, bytes).await?;
        Ok(account)
    }

    /// An account is good for one authority.
    fn account_key(&self) -> String {
        let hash = hex::encode(&Sha256::digest(&self.directory)[..8]);
        format!("farmer_account+{hash}")
    }
}

/// The certificate that proves a name to the authority (RFC 8737).
fn proof(name: &str, digest: &[u8]) -> Result<CertifiedKey, Error> {
    let key = KeyPair::generate().map_err(Error::Make)?;
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(Error::Make)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let signed = params.self_signed(&key).map_err(Error::Make)?;
    let chain = vec![signed.der().clone()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let key = provider().key_provider.load_private_key(key);
    // Nobody checks the pair: the extension that is the proof is critical, and unknown to
    // whoever reads certificates for other ends.
    Ok(CertifiedKey::new(chain, key.map_err(Error::Pair)?))
}
