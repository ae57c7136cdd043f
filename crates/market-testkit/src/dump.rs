//! Driver messages as `oned` and `one_market` build them.

use market_core::encoding::encode;
use market_core::template::Template;

/// The values in a message to a market driver or a datastore driver. The default is an import of
/// app 30 (image 7, raw, 1 MiB) into the marketplace 107 of the driver `http`. The methods give the
/// message of each action, in base64.
#[derive(Clone, Debug)]
pub struct Dump {
    /// App id.
    pub app: i64,
    /// The app's SOURCE.
    pub app_source: String,
    /// The app's TYPE number.
    pub app_type: i64,
    /// Marketplace id.
    pub market_id: i64,
    /// The marketplace's driver.
    pub market_mad: String,
    /// The datastore's driver.
    pub ds_mad: String,
    /// Attributes of the marketplace's template.
    pub market: Vec<(String, String)>,
    /// App ids in the marketplace.
    pub market_apps: Vec<i64>,
    /// IMPORT_SOURCE.
    pub import_source: String,
    /// MD5 of the export step.
    pub md5: String,
    /// SIZE of the export step, in MiB.
    pub size: String,
    /// IMAGE/SIZE, in MiB.
    pub image_size: i64,
    /// FORMAT of the export step.
    pub format: String,
    /// DISPOSE_CMD; DISPOSE is YES when it is not empty.
    pub dispose: String,
    /// IMAGE/SOURCE.
    pub image_source: String,
    /// IMAGE/PATH.
    pub image_path: String,
    /// Attributes of the image's template.
    pub image: Vec<(String, String)>,
    /// DATASTORE/BASE_PATH.
    pub base_path: String,
    /// DATASTORE/TYPE number.
    pub datastore_type: i64,
    /// IMAGE/TYPE number.
    pub image_type: i64,
    /// Attributes of the datastore's template.
    pub datastore: Vec<(String, String)>,
}

impl Default for Dump {
    fn default() -> Self {
        Self {
            app: 30,
            app_source: String::new(),
            app_type: 1,
            market_id: 107,
            market_mad: "http".into(),
            ds_mad: "fs".into(),
            market: Vec::new(),
            market_apps: Vec::new(),
            import_source: String::new(),
            md5: String::new(),
            size: "1".into(),
            image_size: 1,
            format: "raw".into(),
            dispose: String::new(),
            image_source: String::new(),
            image_path: String::new(),
            image: Vec::new(),
            base_path: "/nonexistent".into(),
            datastore_type: 0,
            image_type: 0,
            datastore: Vec::new(),
        }
    }
}

impl Dump {
    /// The default with these attributes in the template of the marketplace.
    pub fn of_market(attributes: &[(&str, &str)]) -> Self {
        Self { market: owned(attributes), ..Self::default() }
    }

    /// The message of `monitor`.
    pub fn monitor(&self) -> String {
        encode(
            format!(
                "<MARKET_DRIVER_ACTION_DATA>{}</MARKET_DRIVER_ACTION_DATA>",
                self.marketplace()
            )
            .as_bytes(),
        )
    }

    /// The message of `delete`.
    pub fn delete(&self) -> String {
        let body = format!("{}{}", self.app(), self.marketplace());
        encode(format!("<MARKET_DRIVER_ACTION_DATA>{body}</MARKET_DRIVER_ACTION_DATA>").as_bytes())
    }

    /// The message of `import` as `oned` sends it to `one_market`, without the elements of
    /// `export`.
    pub fn import_request(&self) -> String {
        let body =
            format!("{}{}{}{}", self.app(), self.marketplace(), self.image(), self.datastore());
        encode(format!("<MARKET_DRIVER_ACTION_DATA>{body}</MARKET_DRIVER_ACTION_DATA>").as_bytes())
    }

    /// The message of a driver's `import`, with the elements of `export` at its end.
    pub fn import(&self) -> String {
        let info = [
            ("IMPORT_SOURCE", self.import_source.as_str()),
            ("MD5", &self.md5),
            ("SIZE", &self.size),
            ("FORMAT", &self.format),
            ("DISPOSE", if self.dispose.is_empty() { "NO" } else { "YES" }),
            ("DISPOSE_CMD", &self.dispose),
        ];
        let info: String = info.iter().map(|(name, value)| element(name, value)).collect();
        let body = format!(
            "{}{}{}{}{info}",
            self.app(),
            self.marketplace(),
            self.image(),
            self.datastore()
        );
        encode(format!("<MARKET_DRIVER_ACTION_DATA>{body}</MARKET_DRIVER_ACTION_DATA>").as_bytes())
    }

    /// The message of a datastore's `export`.
    pub fn export(&self) -> String {
        let body = format!("{}{}", self.image(), self.datastore());
        encode(format!("<DS_DRIVER_ACTION_DATA>{body}</DS_DRIVER_ACTION_DATA>").as_bytes())
    }

    /// The message of a datastore's `cp` for the image of an app.
    pub fn copy(&self) -> String {
        let body = format!("{}{}{}", self.image(), self.datastore(), self.marketplace());
        encode(format!("<DS_DRIVER_ACTION_DATA>{body}</DS_DRIVER_ACTION_DATA>").as_bytes())
    }

    /// A message to a datastore driver with nothing but the marketplace, as the web interface makes
    /// it for a download.
    pub fn marketplace_only(&self) -> String {
        encode(
            format!("<DS_DRIVER_ACTION_DATA>{}</DS_DRIVER_ACTION_DATA>", self.marketplace())
                .as_bytes(),
        )
    }

    fn app(&self) -> String {
        format!(
            "<MARKETPLACEAPP><ID>{}</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME>\
             <GNAME>oneadmin</GNAME><REGTIME>1795313225</REGTIME><NAME>app</NAME>\
             <ZONE_ID><![CDATA[0]]></ZONE_ID><ORIGIN_ID><![CDATA[7]]></ORIGIN_ID>{}<MD5></MD5>\
             <SIZE>0</SIZE><STATE>2</STATE><TYPE>{}</TYPE><TEMPLATE></TEMPLATE></MARKETPLACEAPP>",
            self.app,
            element("SOURCE", &self.app_source),
            self.app_type
        )
    }

    fn marketplace(&self) -> String {
        let apps: String = self.market_apps.iter().map(|id| format!("<ID>{id}</ID>")).collect();
        format!(
            "<MARKETPLACE><ID>{}</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME>\
             <GNAME>oneadmin</GNAME><NAME>apps</NAME><STATE>0</STATE>{}\
             <ZONE_ID><![CDATA[0]]></ZONE_ID><TOTAL_MB>0</TOTAL_MB><FREE_MB>0</FREE_MB>\
             <USED_MB>0</USED_MB><MARKETPLACEAPPS>{apps}</MARKETPLACEAPPS>{}</MARKETPLACE>",
            self.market_id,
            element("MARKET_MAD", &self.market_mad),
            template(&self.market)
        )
    }

    fn image(&self) -> String {
        format!(
            "<IMAGE><ID>7</ID><NAME>image</NAME><TYPE>{}</TYPE><DISK_TYPE>0</DISK_TYPE>{}{}\
             <FORMAT></FORMAT><SIZE>{}</SIZE><STATE>1</STATE>{}</IMAGE>",
            self.image_type,
            element("SOURCE", &self.image_source),
            element("PATH", &self.image_path),
            self.image_size,
            template(&self.image)
        )
    }

    fn datastore(&self) -> String {
        format!(
            "<DATASTORE><ID>103</ID><NAME>images</NAME>{}{}<TYPE>{}</TYPE>{}</DATASTORE>",
            element("DS_MAD", &self.ds_mad),
            element("BASE_PATH", &self.base_path),
            self.datastore_type,
            template(&self.datastore)
        )
    }
}

/// Attributes as a [`Dump`] holds them.
pub fn owned(attributes: &[(&str, &str)]) -> Vec<(String, String)> {
    attributes.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn element(name: &str, value: &str) -> String {
    format!("<{name}><![CDATA[{}]]></{name}>", value.replace("]]>", "]]]]><![CDATA[>"))
}

fn template(attributes: &[(String, String)]) -> String {
    let mut template = Template::new();
    for (name, value) in attributes {
        template.push(name, value).expect("a name of the syntax");
    }
    template.to_xml("TEMPLATE").expect("values that XML can carry")
}
