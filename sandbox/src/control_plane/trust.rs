//! Who may talk to a sandbox's API server, and with which keys it signs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use pem::Pem;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::Value;

/// What stands before the point of a public key on the curve P-256, in DER.
const P256_PUBLIC_KEY: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Callers with a token of their own, so that the audit log can tell them apart. All of them may do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The control plane's own parts, and kubectl as run by the sandbox.
    Admin,
    /// The sandbox where it changes things: nodes, power, workloads.
    Sandbox,
    /// kwok, who plays the kubelets.
    Kwok,
    /// A human being at kubectl.
    Person,
}

impl User {
    pub(super) const ALL: [Self; 4] = [Self::Admin, Self::Sandbox, Self::Kwok, Self::Person];

    /// The name in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Sandbox => "sandbox",
            Self::Kwok => "kwok",
            Self::Person => "person",
        }
    }
}

/// The files of keys and tokens.
#[derive(Debug)]
pub(super) struct Trust {
    folder: PathBuf,
    authority: PathBuf,
    tokens: Vec<(User, String)>,
}

impl Trust {
    pub(super) fn create(run_folder: &Path) -> Result<Self> {
        let folder = run_folder.join("pki");
        std::fs::create_dir_all(&folder).with_context(|| format!("can't create {}", folder.display()))?;
        let authority = folder.join("apiserver.crt");
        let tokens = User::ALL.map(|user| (user, random_token())).to_vec();
        let trust = Self { folder, authority, tokens };
        let mut lines = String::new();
        for (user, token) in &trust.tokens {
            let user = user.as_str();
            writeln!(lines, "{token},{user},{user},system:masters").context("can't list the tokens")?;
        }
        let (key, public_key) = account_keys()?;
        for (path, text) in [
            (trust.token_file(), lines),
            (trust.account_key(), key),
            (trust.account_public_key(), public_key),
        ] {
            std::fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
        }
        Ok(trust)
    }

    /// Where the API server puts its certificate and its key.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The API server's certificate with its authority; there once it has started.
    pub(super) fn authority(&self) -> &Path {
        &self.authority
    }

    /// The key of that certificate, which the API server writes after it.
    pub(super) fn serving_key(&self) -> PathBuf {
        self.folder.join("apiserver.key")
    }

    pub(super) fn token_file(&self) -> PathBuf {
        self.folder.join("tokens.csv")
    }

    pub(super) fn account_key(&self) -> PathBuf {
        self.folder.join("sa.key")
    }

    pub(super) fn account_public_key(&self) -> PathBuf {
        self.folder.join("sa.pub")
    }

    /// A service account's token as it will be when it has expired: two hours older, and as well signed.
    pub(super) fn expired(&self, token: &str) -> Result<String> {
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, _] = parts[..] else { bail!("a token has three parts, this one {}", parts.len()) };
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).context("a token's claims can't be read")?;
        let mut claims: Value = serde_json::from_slice(&claims).context("a token's claims can't be read")?;
        for time in ["iat", "nbf", "exp"] {
            let seconds = claims[time].as_i64().with_context(|| format!("a token has no {time}"))?;
            claims[time] = (seconds - 2 * 60 * 60).into();
        }
        let signed = format!("{head}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let key = std::fs::read(self.account_key()).context("can't read the key of service accounts")?;
        let key = pem::parse(key)?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.contents(), &random)
            .map_err(|error| anyhow!("can't use the key of service accounts: {error}"))?;
        let signature = key.sign(&random, signed.as_bytes()).map_err(|_| anyhow!("can't sign a token"))?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    pub(super) fn token(&self, user: User) -> &str {
        self.tokens.iter().find(|(other, _)| *other == user).map_or("", |(_, token)| token)
    }
}

/// A fresh pair of keys that signs and checks the tokens of service accounts, as PEM.
fn account_keys() -> Result<(String, String)> {
    let random = SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map_err(|_| anyhow!("can't make a key for service accounts"))?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private.as_ref(), &random)
        .map_err(|error| anyhow!("can't read the key just made for service accounts: {error}"))?;
    let public = [&P256_PUBLIC_KEY[..], pair.public_key().as_ref()].concat();
    Ok((
        pem::encode(&Pem::new("PRIVATE KEY", private.as_ref())),
        pem::encode(&Pem::new("PUBLIC KEY", public)),
    ))
}

fn random_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}
