//! A marketplace on bridges: hosts that hold the directory instead of this one, and are reached
//! over ssh.
//!
//! An import goes to one bridge: the one that the stock driver would take (the app's id modulo
//! their number), or the next one that answers and has room. No record tells on which bridge an app
//! is, so a deletion asks all of them before it says that the app is gone.

use crate::config::HttpConfig;
use crate::name::{self, HttpKey};
use crate::space::Space;
use market_bridge::{Bridge, Failures, Upload, hosts_switched_off, rotated};
use market_core::backend::{Context, Deleted, ObjectState, Published, StoredObject};
use market_core::error::{Error, ErrorKind};
use market_core::model::AppId;
use market_core::transfer::Source;
use market_core::transfer::ssh::Host;
use std::time::Duration;

/// The hosts, in use or switched off in OpenNebula.
pub(crate) struct Bridges {
    config: HttpConfig,
    on: Vec<Bridge>,
    off: Vec<Bridge>,
    context: Context,
}

impl Bridges {
    pub(crate) async fn connect(config: HttpConfig, hosts: Vec<Host>, context: &Context) -> Self {
        let off = hosts_switched_off(&context.log).await;
        let bridges = hosts.into_iter().map(|host| {
            Bridge::new(host, "PUBLIC_DIR", config.public_dir.clone(), context.options.clone())
        });
        let (off, on) = bridges.partition(|bridge| off.contains(bridge.host().as_str()));
        Self { config, on, off, context: context.clone() }
    }

    /// Every bridge, those in use first: what is stored on one that is switched off is still
    /// stored.
    fn all(&self, key: &HttpKey) -> impl Iterator<Item = &Bridge> {
        let app = key.app().unwrap_or_default();
        rotated(&self.on, app.0).into_iter().flatten().chain(&self.off)
    }

    /// The space of the first bridge that answers, beginning with any of them.
    pub(crate) async fn space(&self) -> Result<Space, Error> {
        let nanoseconds = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos();
        let mut failures = Failures::default();
        for bridge in rotated(&self.on, i64::from(nanoseconds))? {
            match space(bridge).await {
                Ok(space) => return Ok(space),
                Err(error) => failures.add(error, &self.context.log),
            }
        }
        Err(failures.into_error("no bridge tells its space"))
    }

    /// Opens an upload on the first bridge that takes it.
    pub(crate) async fn stage(
        &self,
        app: AppId,
        needed_bytes: Option<u64>,
    ) -> Result<BridgeUpload, Error> {
        let bridges = rotated(&self.on, app.0)?;
        let published_name = name::published()?;
        let file =
            Upload::start_on_first(bridges, || name::staged(app), needed_bytes, &self.context)
                .await?;
        Ok(BridgeUpload { file, published_name })
    }

    pub(crate) async fn publish(&self, upload: &BridgeUpload) -> Published {
        match upload.ask(include_str!("scripts/publish.sh")).await.as_deref() {
            Ok("published") => Published::At(self.config.source(&upload.published_name)),
            Ok("exists") => Published::Exists(self.config.source(&upload.published_name)),
            Ok("gone") => {
                let cause = "is gone: the app was deleted, or the marketplace cleaned, while it was imported";
                let error = Error::new(ErrorKind::Absent, upload.file.subject(), cause);
                Published::NotPublished(error)
            }
            Ok(other) => Published::Unknown(upload.file.bridge().unexpected_answer(other)),
            // The script may have run there although its answer was lost.
            Err(error) => Published::Unknown(error.clone()),
        }
    }

    pub(crate) async fn resolve(&self, upload: &BridgeUpload) -> Published {
        match upload.ask(include_str!("scripts/resolve.sh")).await.as_deref() {
            Ok("published") => Published::At(self.config.source(&upload.published_name)),
            Ok("gone") => {
                let cause = "the bridge did not publish it";
                let error = Error::new(ErrorKind::Unreachable, upload.file.subject(), cause);
                Published::NotPublished(error.remedy("nothing was published; import again"))
            }
            Ok(other) => Published::Unknown(upload.file.bridge().unexpected_answer(other)),
            Err(error) => Published::Unknown(error.clone()),
        }
    }

    pub(crate) async fn delete(&self, key: &HttpKey) -> Result<Deleted, Error> {
        let mut failures = Failures::default();
        for bridge in self.all(key) {
            match remove(bridge, key.name()).await {
                Ok(Deleted::Removed) => return Ok(Deleted::Removed),
                Ok(Deleted::Absent) => {}
                Err(error) => failures.add(error, &self.context.log),
            }
        }
        if failures.is_empty() {
            return Ok(Deleted::Absent);
        }
        let path = self.config.public_dir.join(key.name()).display().to_string();
        let error = failures.into_error("it is on no bridge that answers");
        Err(error.remedy(format!("remove {path} there, or run gc, once it answers")))
    }

    pub(crate) async fn open(&self, key: &HttpKey) -> Result<Option<Source>, Error> {
        let mut failures = Failures::default();
        for bridge in self.all(key) {
            match Source::open_on(bridge.host(), &bridge.path(key.name()), bridge.options())
                .await
                .map_err(Error::from)
            {
                Ok(source) => return Ok(Some(source)),
                Err(error) if error.kind == ErrorKind::Absent => {}
                Err(error) => failures.add(error, &self.context.log),
            }
        }
        if failures.is_empty() {
            Ok(None)
        } else {
            Err(failures.into_error("it is on no bridge that answers"))
        }
    }

    pub(crate) async fn list(
        &self,
        sink: &mut dyn FnMut(StoredObject<HttpKey>),
    ) -> Result<(), Error> {
        let mut failures = Failures::default();
        for bridge in self.on.iter().chain(&self.off) {
            match list(bridge).await {
                Ok(objects) => objects.into_iter().for_each(&mut *sink),
                Err(error) => failures.add(error, &self.context.log),
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures.into_error("not every bridge could be listed"))
        }
    }

    pub(crate) async fn remove(&self, object: &StoredObject<HttpKey>) -> Result<Deleted, Error> {
        let known =
            self.on.iter().chain(&self.off).find(|bridge| bridge.host().as_str() == object.place);
        let bridge = known.ok_or_else(|| {
            Error::new(ErrorKind::Denied, &object.place, "is no bridge of this marketplace")
        })?;
        match object.state {
            ObjectState::Published => remove(bridge, object.key.name()).await,
            ObjectState::Staged => {
                bridge.remove_staged(object.key.name()).await.map(Deleted::from_existed)
            }
        }
    }
}

/// An import to a bridge: a file in its staging directory, and the name that it will have.
pub(crate) struct BridgeUpload {
    pub(crate) file: Upload,
    published_name: String,
}

impl BridgeUpload {
    /// Runs a script on the bridge that is about the staged file and its published name.
    async fn ask(&self, script: &str) -> Result<String, Error> {
        self.file.bridge().ask(script, &[self.file.name(), &self.published_name]).await
    }
}

async fn space(bridge: &Bridge) -> Result<Space, Error> {
    let line = bridge.ask(include_str!("scripts/space.sh"), &[]).await?;
    let numbers: Vec<u64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [block_bytes, blocks, free, available] => {
            Ok(Space { block_bytes, blocks, free, available })
        }
        _ => Err(bridge.unexpected_answer(&line)),
    }
}

async fn remove(bridge: &Bridge, path: &str) -> Result<Deleted, Error> {
    bridge.remove(path).await.map(Deleted::from_existed)
}

async fn list(bridge: &Bridge) -> Result<Vec<StoredObject<HttpKey>>, Error> {
    let lines = bridge.run(include_str!("scripts/list.sh"), &[&"[0-9a-f]".repeat(32)]).await?;
    let now = lines.first().and_then(|line| line.strip_prefix("now ")?.parse::<u64>().ok());
    let now =
        now.ok_or_else(|| bridge.unexpected_answer(lines.first().map_or("", String::as_str)))?;
    let object = |line: &String| {
        let words: Vec<_> = line.split(' ').collect();
        let age =
            |written: &str| Some(Duration::from_secs(now.saturating_sub(written.parse().ok()?)));
        let object = match words[..] {
            ["published", bytes, written, name] => {
                let key = HttpKey::published(name)?;
                StoredObject::published(key, bytes.parse().ok()?, age(written)?)
            }
            ["staged", bytes, written, busy, path] => {
                let (key, app) = HttpKey::staged(path.strip_prefix("./")?)?;
                let object = StoredObject::staged(key, bytes.parse().ok()?, age(written)?);
                object.of_app(app).with_busy(busy == "1")
            }
            _ => return None,
        };
        Some(object.in_place(bridge.host().as_str()))
    };
    Ok(lines[1..].iter().filter_map(object).collect())
}
