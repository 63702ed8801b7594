//! Files: PNG with an XMP packet where one is asked for, and the cropped JPEG of the copied picture.

use std::error::Error;

/// An RGB PNG; `xmp` goes into the `iTXt` chunk that XMP prescribes for PNG.
pub fn png(size: u32, pixels: &[u8], xmp: Option<&str>) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size, size);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    if let Some(xmp) = xmp {
        encoder.add_itxt_chunk("XML:com.adobe.xmp".to_owned(), xmp.to_owned())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// The picture without its first `left` columns and `top` rows, as a JPEG.
pub fn cropped_jpeg(size: u32, pixels: &[u8], left: u32, top: u32, quality: u8) -> Result<Vec<u8>, Box<dyn Error>> {
    let whole = image::RgbImage::from_raw(size, size, pixels.to_vec()).ok_or("the picture has too few pixels")?;
    let part = image::imageops::crop_imm(&whole, left, top, size - left, size - top).to_image();
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(&part)?;
    Ok(bytes)
}

/// A property of an XMP packet.
pub struct Property {
    pub prefix: &'static str,
    pub namespace: &'static str,
    pub name: &'static str,
    pub value: &'static str,
}

/// An XMP packet that names the creator, if given, and holds one property, if given.
pub fn xmp(creator: Option<&str>, property: Option<&Property>) -> String {
    let creator = creator.map_or(String::new(), |name| {
        format!("   <dc:creator><rdf:Seq><rdf:li>{name}</rdf:li></rdf:Seq></dc:creator>\n")
    });
    let (declared, stated) = property.map_or_else(
        Default::default,
        |Property {
             prefix,
             namespace,
             name,
             value,
         }| {
            let stated = format!("   <{prefix}:{name}>{value}</{prefix}:{name}>\n");
            (format!(" xmlns:{prefix}=\"{namespace}\""), stated)
        },
    );
    format!(
        r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"{declared}>
{creator}{stated}  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"#
    )
}
